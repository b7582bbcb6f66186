"""`python -m pgdurable`: the command line."""

from pgdurable_cli.main import main

if __name__ == "__main__":
    main(prog_name="pgdurable")

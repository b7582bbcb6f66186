"""The command line of pgdurable."""

"""The command line of pgdurable: one file per command."""

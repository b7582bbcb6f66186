"""The pen, and what reads: everything between a committed event and a reader."""

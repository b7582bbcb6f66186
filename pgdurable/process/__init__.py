"""One process: its rooms, and the signals that end it."""

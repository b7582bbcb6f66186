"""The schema is what the committed snapshot says; a change of it is seen in review."""

"""Each SQL file opens with the same fields, and what they say is so."""

"""What the demo's agent says, and how long its worker may be silent."""

TEXT = (
    "Every word you read here was stored in Postgres before it was sent. "
    "If the process that writes them dies in the middle of a sentence, another one "
    "finds the words that are already there, and goes on with the next."
)
LEASE_SECONDS = 2.0

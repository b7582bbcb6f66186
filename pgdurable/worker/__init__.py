"""The bench: claim a response, run its handler, keep its lease, drain."""

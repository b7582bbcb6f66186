"""The worker's room: claim a response, run its handler, keep its lease, drain."""

"""One script per question, each beside a yardstick in the same invocation and cluster."""

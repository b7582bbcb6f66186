"""What the questions are asked with: clusters, clients, servers to measure, figures."""

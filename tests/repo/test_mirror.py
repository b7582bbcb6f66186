"""Each SQL file has its tests, each SQL function its wrapper and its place in the documents."""

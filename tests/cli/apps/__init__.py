"""Modules that the tests hand to `pgdurable run`; their current directory is the checkout."""

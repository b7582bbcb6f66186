"""A module that cannot be imported."""

raise RuntimeError("the model's key is missing")

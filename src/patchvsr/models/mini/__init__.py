"""Bundled model, small enough to run on two CPU cores."""

"""Measures: fidelity against the original, and seams at patch lines."""

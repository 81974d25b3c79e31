"""Measures of restored video, computed from its frames. Metric packages are an optional extra."""

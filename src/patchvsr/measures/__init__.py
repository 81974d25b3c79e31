"""Measures of restored video, each a function of frames. Metric packages are an extra."""

"""Geometry of patches: their boxes on the canvas and their weights."""

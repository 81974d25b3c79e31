"""A stand-in for the part of ComfyUI's V3 interface that the nodes use, for tests without ComfyUI."""

"""A stand-in for what the nodes use of ComfyUI itself."""

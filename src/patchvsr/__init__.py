"""PatchVSR: video super-resolution to any size, patch by patch, with a video diffusion transformer."""

__version__ = "0.1.0"

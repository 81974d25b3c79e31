"""What is done to pixels without a model: formats, sizes, resizing, colour matching."""

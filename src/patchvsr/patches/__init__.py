"""Pure geometry: where patches lie on the canvas and how they are weighted."""

"""Plan the work of an upscale, record what is done, and resume after a stop."""

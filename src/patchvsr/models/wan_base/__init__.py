"""Wan bases. Not named `wan`: diffusers would take the room for its own pipeline of that name when it saves a model."""

"""Transformer with a dual-branch adapter, autoencoders, and the code that finds and loads them."""

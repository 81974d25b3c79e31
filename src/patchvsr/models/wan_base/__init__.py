"""Wan bases.

The package is not named `wan`, because diffusers would confuse it with its own pipeline module when saving a model.
"""

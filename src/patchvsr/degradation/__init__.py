"""Degrade clean footage, for training and for fixed test sets."""

"""The transformer with its dual-branch adapter, the codecs, and how they are found and loaded."""

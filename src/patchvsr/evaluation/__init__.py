"""Measures: fidelity against the original, seams at patch lines, jumps at chunk joins.

`metrics` and `vmaf` compare with an original, `seams` and `flicker` need none, `report` measures a finished upscale,
`degrade` makes the low-quality files, `lossless` reads and writes them, `synthetic` draws clips where no material is
at hand.
"""

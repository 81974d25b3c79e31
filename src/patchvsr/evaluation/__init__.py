"""Evaluate finished upscales without an original, and generate synthetic clips.

`report` measures a finished upscale, `job_report` adds how a job made it, and `synthetic` renders clips without a
download. The measures themselves are in `patchvsr.measures`, the low-quality test sets in `patchvsr.degradation`.
"""

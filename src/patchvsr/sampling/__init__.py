"""Noise, schedules and joint denoising of patches on one canvas."""

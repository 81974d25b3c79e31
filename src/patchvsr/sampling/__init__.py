"""Noise, schedules and joint denoising of many patches as one canvas."""

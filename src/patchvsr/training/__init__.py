"""Training: data, samples, objectives, recipes, one trainer, and export."""

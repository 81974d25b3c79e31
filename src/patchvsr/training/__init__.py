"""From clips to weights: data, degradation, objectives, recipes and one trainer."""

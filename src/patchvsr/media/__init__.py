"""Reading and writing media with PyAV. No models in here."""

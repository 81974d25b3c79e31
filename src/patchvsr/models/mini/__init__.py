"""The bundled model, small enough for two CPU cores."""

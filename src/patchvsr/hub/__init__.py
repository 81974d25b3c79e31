"""Models on the Hub and in its local cache: publish one, and list what is there."""

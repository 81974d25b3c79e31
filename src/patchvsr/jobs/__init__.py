"""What to do, what is done, and how to go on."""

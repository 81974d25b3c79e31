"""The command line: words to settings, events to a progress bar, errors to one line."""

"""The command line: turn options into settings, events into a progress bar, and errors into one line."""

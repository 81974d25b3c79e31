"""Upscaling as a service: jobs in a database, a queue, and one worker for each device, behind HTTP.

The service itself computes nothing. Every look at a file and every job is a command in a process of its own, so a
damaged file, a crash or a lack of memory ends that command and nothing else, and the memory of a model is returned.
"""

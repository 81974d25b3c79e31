"""Errors a user can act on: one line that says what came, what is needed and what to do.

Everything else is a bug and keeps its traceback. The command line turns these into exit code 2.
"""


class PatchVSRError(Exception):
    """Base of all errors that are shown to the user as one line."""


class InputError(PatchVSRError):
    """The input cannot be used: missing, not a video, damaged, no frames, no video stream."""


class OutputError(PatchVSRError):
    """The output cannot be written: it exists, its folder is missing, the disk is full, a codec refuses."""


class ModelError(PatchVSRError):
    """The model is unknown, incomplete or does not fit."""


class SettingsError(PatchVSRError):
    """A setting is out of its range or contradicts another."""


class JobError(PatchVSRError):
    """The job's folder cannot be gone on with: made with other settings, damaged, or in use by another process."""

"""Errors that the user can fix, with a one-line message: what was given, what is needed and what to do.

Any other exception is a bug and keeps its traceback. The command line prints these and exits with code 2.
"""


class PatchVSRError(Exception):
    """Base class of all errors shown to the user as one line."""


class InputError(PatchVSRError):
    """The input is unusable: missing, not a video, damaged, without frames or without a video stream."""


class OutputError(PatchVSRError):
    """The output cannot be written: it exists, its folder is missing, the disk is full, or the encoder failed."""


class ModelError(PatchVSRError):
    """The model is unknown, incomplete or incompatible."""


class SettingsError(PatchVSRError):
    """A setting is out of range or conflicts with another."""


class JobError(PatchVSRError):
    """The job folder cannot be resumed: other settings, damaged, or in use by another process."""


class ClusterError(PatchVSRError):
    """The cluster cannot be reached, or none of its nodes can be used."""


class UnfaithfulError(PatchVSRError):
    """A frame does not show what its input shows.

    stage: what spoiled it. frame: its number in the clip or the output, from 0. fault: what is wrong, in words.
    """

    def __init__(self, stage: str, frame: int, fault: str, message: str | None = None) -> None:
        super().__init__(message or f"frame {frame} is wrong after {stage}: it {fault}")
        self.stage, self.frame, self.fault = stage, frame, fault

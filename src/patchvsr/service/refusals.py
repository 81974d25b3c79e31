"""Refusals of a request, each with its HTTP status."""

from __future__ import annotations

from patchvsr.errors import PatchVSRError


class Refused(PatchVSRError):
    """A request is not carried out. status: of the HTTP answer; it is 422 for all other errors that a user can fix."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

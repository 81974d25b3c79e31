"""Refusals of a request, each with its HTTP status, and how the description of the interface declares them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from patchvsr.errors import PatchVSRError

_MEANINGS = {
    400: "The request cannot be read.",
    401: "A token is needed.",
    403: "A page of another site, or a path outside the folders of this service.",
    404: "There is no such thing.",
    409: "Not in this state, or the place is taken.",
    410: "A file is gone from the server.",
    413: "Too large.",
    416: "No such range.",
    421: "A host name that is not this service.",
    422: "A value, setting or file that cannot be used.",
    429: "Too many at once.",
    504: "No answer in time.",
    507: "The disk would be too full.",
}


class Refusal(BaseModel):
    """The answer to a request that is not carried out."""

    detail: str = Field(description="One line: what came, what is needed, what to do.")


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of refusals by these statuses, as routes take it."""
    return {status: {"model": Refusal, "description": _MEANINGS[status]} for status in sorted(statuses)}


class Refused(PatchVSRError):
    """A request is not carried out. status: of the HTTP answer; it is 422 for all other errors that a user can fix."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

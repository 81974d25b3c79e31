"""Publish a model folder on the Hub, in one commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, ModelInfo, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError, RepositoryNotFoundError
from huggingface_hub.utils import HFValidationError, filter_repo_objects, validate_repo_id

from patchvsr import __version__
from patchvsr.errors import ModelError, OutputError
from patchvsr.hub.checks import check_publishable
from patchvsr.models.registry import MODEL_FILES

PUBLISHED = (*MODEL_FILES, "LICENSE*")
_REFUSED = (401, 403)


@dataclass(frozen=True)
class Pushed:
    """A model on the Hub.

    revision: the commit that holds it. sent: False if it was there already. left_out: files of the folder that are no
    part of a model.
    """

    url: str
    revision: str
    sent: bool
    private: bool
    left_out: tuple[str, ...]


def push(folder: str | Path, repository: str, *, public: bool = False) -> Pushed:
    """Publish a model folder as `repository` (OWNER/NAME), which is created, private unless `public`, if it is new.

    All files go into one commit, so nobody sees a part of them. Files that are there already are not sent again, and
    nothing is deleted.

    Raises:
        ModelError: the folder cannot be published, see `check_publishable`, or the name is none.
        OutputError: the Hub refuses, cannot be reached, or holds something else under this name.
    """
    folder = Path(folder)
    # 1. Check everything that can be checked here.
    _check_name(repository)
    check_publishable(folder)
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    published = list(filter_repo_objects(files, allow_patterns=list(PUBLISHED)))
    if get_token() is None:
        raise OutputError("not logged in to the Hub: run `hf auth login` once, or set HF_TOKEN")

    with _reported(repository):
        # 2. Look at what the Hub has under this name.
        api = HfApi()
        known = _find(api, repository)
        if known is None:
            api.create_repo(repository, private=not public)
            known = api.model_info(repository)
        else:
            _check_same_visibility(known, public=public)
            _check_no_others(known, published)

        # 3. Send what differs, in one commit on top of what was looked at.
        commit = api.create_commit(
            repository,
            [CommitOperationAdd(name, folder / name) for name in published],
            commit_message=f"Upload with PatchVSR {__version__}",
            parent_commit=known.sha,
        )
    return Pushed(
        url=f"{api.endpoint}/{repository}",
        revision=commit.oid,
        sent=commit.oid != known.sha,
        private=not public,
        left_out=tuple(sorted(set(files) - set(published))),
    )


def _check_name(repository: str) -> None:
    """Raise ModelError unless it can be a name on the Hub. A folder of the same name here does not matter."""
    try:
        validate_repo_id(repository)
        valid = repository.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise ModelError(f"{repository!r} is no name on the Hub: give OWNER/NAME")


def _find(api: HfApi, repository: str) -> ModelInfo | None:
    try:
        return api.model_info(repository)
    except RepositoryNotFoundError:
        return None


def _check_same_visibility(known: ModelInfo, *, public: bool) -> None:
    """A push does not change who can see a model, and publishes nothing by accident."""
    if known.private and public:
        raise OutputError(f"{known.id} exists and is private: make it public in its settings, or push without --public")
    if not known.private and not public:
        raise OutputError(f"{known.id} exists and is public: give --public to publish there, or choose another name")


def _check_no_others(known: ModelInfo, published: list[str]) -> None:
    """Weights of another model would be loaded along with the new ones."""
    there = [file.rfilename for file in known.siblings or ()]
    others = sorted(set(filter_repo_objects(there, allow_patterns=list(MODEL_FILES))) - set(published))
    if others:
        raise OutputError(
            f"{known.id} also holds {', '.join(others)}, which the new model has not: "
            "delete them there, or choose another name"
        )


@contextmanager
def _reported(repository: str) -> Iterator[None]:
    """Raise what the Hub answers as a one-line OutputError."""
    try:
        yield
    except (OSError, HTTPError, ValueError) as error:
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code in _REFUSED
        advice = "; log in with a token that may write there: `hf auth login`" if refused else ""
        reason = " ".join(str(error).split())
        raise OutputError(f"cannot push to {repository!r}: {reason}{advice}") from error

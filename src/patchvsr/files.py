"""Write outputs atomically: they appear under their name only when complete.

Everything is written under a hidden name in the folder of the output, flushed to disk, and renamed.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av

from patchvsr.errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP}  # from network disks that flush folders themselves


def beside(target: Path, form: str) -> Path:
    """Return a path next to `target` with its name formatted by `form`, such as "{}.job".

    Percent signs are removed, because they would make the path a pattern. "." and ".." are resolved to the folder's
    name. Raises OutputError for the root of a disk.
    """
    target = target.resolve() if target.name in ("", "..") else target
    if not target.name:
        raise OutputError(f"{target}: is the root of a disk; give a folder in it")
    return target.with_name(form.format(target.name.replace("%", "")))


def temporary_folder(target: Path) -> Path:
    """Create an empty hidden folder next to `target`, with all parents; raise OutputError if that fails."""
    temporary = beside(target, ".{}.partial")
    with reported(target, lambda: None):
        remove_folder(temporary)
        temporary.mkdir(parents=True)
    return temporary


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably, unless they exist."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync(made.parent)


def move_file(temporary: Path, target: Path) -> None:
    """Flush a finished file to disk and rename it to `target`."""
    _sync(temporary)
    temporary.replace(target)
    _sync(target.parent)


def move_files(files: Sequence[Path], folder: Path) -> None:
    """Flush finished files to disk, then move them into `folder` under the same names, even to another disk."""
    for file in files:
        _sync(file)
    for file in files:
        try:
            file.replace(folder / file.name)
        except OSError as err:
            if err.errno != errno.EXDEV:
                raise
            _copy_over(file, folder / file.name)
    _sync(folder)


def remove_folder(folder: Path) -> None:
    """Remove a temporary folder if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def reported(path: Path, abort: Callable[[], None]) -> Iterator[None]:
    """Call `abort` on any error, and raise failures of the disk and of FFmpeg as a one-line OutputError."""
    try:
        yield
    except (OSError, av.FFmpegError) as err:
        abort()
        reason = (getattr(err, "strerror", None) or str(err)).lower()
        if err.errno in _FULL:
            raise OutputError(f"{path}: {reason}; free some space, then run again") from err
        raise OutputError(f"{path}: cannot be written ({reason})") from err
    except BaseException:
        abort()
        raise


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path next to `target` to write to, then flush it to disk and rename it to `target`.

    On any error the temporary file is removed and `target` stays as it was.
    """
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        yield temporary
        move_file(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `target` to fill, then flush it to disk and rename it to `target`.

    An existing `target` is replaced. On any error the temporary folder is removed and `target` stays as it was.
    """
    temporary, replaced = (target.with_name(f".{target.name}.{what}") for what in ("partial", "replaced"))
    remove_folder(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in temporary.rglob("*"):
            _sync(path)
        _sync(temporary)
        if target.exists():
            remove_folder(replaced)
            target.rename(replaced)
        temporary.rename(target)
        _sync(target.parent)
    except BaseException:
        remove_folder(temporary)
        raise
    remove_folder(replaced)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file atomically and durably."""
    with new_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, *, parents: bool = False) -> None:
    """Write a text file atomically, with its folders if `parents`. Raises OutputError if that fails."""
    with reported(path, lambda: None):
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, text.encode())


def _copy_over(file: Path, target: Path) -> None:
    """Move a file to another disk with the effect of a rename; the folder may be a link or a mount point."""
    with new_file(target) as temporary:
        shutil.copyfile(file, temporary)
    file.unlink()


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as err:
        if not path.is_dir() or err.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)

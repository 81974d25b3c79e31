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


def write_durably(path: Path, data: bytes) -> None:
    """Write a file atomically and durably."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_bytes(data)
        move_file(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy_over(file: Path, target: Path) -> None:
    """Move a file to another disk with the effect of a rename; the folder may be a link or a mount point."""
    temporary = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(file, temporary)
        _sync(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
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

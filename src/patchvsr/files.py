"""Outputs appear under their name only when they are complete.

Everything is written under a hidden name in the folder of the output, flushed to the disk, and renamed.
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
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP}  # said by some network disks, which flush names by themselves


def beside(target: Path, form: str) -> Path:
    """A path next to `target`, its name put into `form`, such as "{}.job". Raises OutputError for the root.

    Without percent signs, which would make a pattern of it. The names "." and ".." say nothing: the folder's own is
    taken.
    """
    target = target.resolve() if target.name in ("", "..") else target
    if not target.name:
        raise OutputError(f"{target}: is the root of a disk; give a folder in it")
    return target.with_name(form.format(target.name.replace("%", "")))


def temporary_folder(target: Path) -> Path:
    """An empty hidden folder beside `target`, created with all folders above it; raises OutputError."""
    temporary = beside(target, ".{}.partial")
    with reported(target, lambda: None):
        remove_folder(temporary)
        temporary.mkdir(parents=True)
    return temporary


def make_folder(folder: Path) -> None:
    """Creates a folder, and all above it, durably; it may be there already."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync(made.parent)


def move_file(temporary: Path, target: Path) -> None:
    """Make a finished file durable and give it its name."""
    _sync(temporary)
    temporary.replace(target)
    _sync(target.parent)


def move_files(files: Sequence[Path], folder: Path) -> None:
    """Make finished files durable, then move them into `folder`, on whatever disk, under the same names."""
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
    """Remove a temporary folder; it may be gone already."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def reported(path: Path, abort: Callable[[], None]) -> Iterator[None]:
    """Clean up with `abort` on any error; failures of the disk and of FFmpeg become one OutputError line."""
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
    """Writes a file that is there whole or not at all, whatever happens in between."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_bytes(data)
        move_file(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy_over(file: Path, target: Path) -> None:
    """What a rename does, to another disk: the output's folder may be a link or a mount point."""
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
    """Flush a file, or the names in a folder, to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows has no handle for folders
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as err:
        if not path.is_dir() or err.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)

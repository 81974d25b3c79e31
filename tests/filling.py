"""Fills a small disk at chosen moments of a job, makes room again, and lets the job go on."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import toy
from jobfiles import digest, events, run

from patchvsr.cli import main as cli
from patchvsr.errors import PatchVSRError
from patchvsr.events import Assembling, Planned, Progress, Scanning

DISK_KIB = 4096
# The kind of event at which the disk is filled, which one of its kind, and how many KiB are left then. While frames are
# encoded nothing is written before 8 KiB, Python's buffer, are full; the result is the first file after the output.
MOMENTS = {
    "manifest": (Scanning, 1, 0),
    "first unit": (Planned, 1, 0),
    "later unit": (Progress, 6, 0),
    "assembling": (Assembling, 1, 4),
    "publishing": (Assembling, 1, None),
}


@contextlib.contextmanager
def small_disk(kib: int) -> Iterator[Path]:
    """A folder on a disk of that size. Raises PermissionError where mounting is not allowed."""
    with tempfile.TemporaryDirectory() as name:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", name], capture_output=True)
        if mounted.returncode:
            raise PermissionError(f"a disk cannot be mounted here ({mounted.stderr.decode().strip()})")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


def mount_refusal() -> str | None:
    """Return why this machine cannot mount a small disk, or None if it can. Mounts one to find out."""
    try:
        with small_disk(DISK_KIB):
            return None
    except (PermissionError, FileNotFoundError) as error:  # not root, or no `mount` program
        return str(error)


def fill(disk: Path, left_kib: int) -> Path:
    """A ballast file that leaves that much."""
    ballast, found = disk / "ballast", os.statvfs(disk)
    ballast.write_bytes(bytes(max(0, found.f_bavail * found.f_frsize - 1024 * left_kib)))
    return ballast


def room_for_output_kib(whole: Path) -> int:
    """Space in which the output just fits, in whole pages: none is left for its result."""
    return -(-whole.stat().st_size // 4096) * 4


def fail_and_go_on(moment: str, source: Path, whole: Path, disk: Path) -> tuple[str, int]:
    """The line that is shown and the exit code. Raises AssertionError when anything is not as it should be."""
    pipeline, target = toy.pipeline(num_inference_steps=1), disk / "out.mkv"
    kind, which, left = MOMENTS[moment]
    left = room_for_output_kib(whole) if left is None else left
    seen, ballast = 0, None
    try:
        for event in events(source, target, pipeline):
            seen += isinstance(event, kind)
            if seen == which and ballast is None:
                ballast = fill(disk, left)
        raise AssertionError(f"{moment}: the disk was not full")
    except PatchVSRError as error:
        shown, code = told(error)
    assert ballast is not None and not target.exists(), f"{moment}: there is an output"
    ballast.unlink()
    run(source, target, pipeline)
    assert digest(target) == digest(whole), f"{moment}: other bytes"
    return shown, code


def told(error: PatchVSRError) -> tuple[str, int]:
    """What the command line makes of an error."""
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        try:
            cli._fail(str(error))
        except SystemExit as end:
            return " ".join(shown.getvalue().split()), int(end.code or 0)
    raise AssertionError("it went on")

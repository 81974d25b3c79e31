"""Damaged files: read to the end with times in order, or refused in one line. Never a crash, a hang or gigabytes."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import resource
from collections.abc import Callable, Iterator
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import forking
import numpy as np
import psutil
import pytest
from clips import irregular_pts, make_video

from patchvsr.errors import PatchVSRError
from patchvsr.media import open_reader

KINDS: dict[str, dict] = {
    "h264.mkv": {"audio": True, "subtitles": True, "pts": irregular_pts(30), "options": {"g": "10"}},
    "h264.mp4": {"audio": True, "pts": irregular_pts(30), "options": {"g": "10"}},
    "h264.ts": {"audio": True, "options": {"g": "10"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
    "mpeg4.avi": {"codec": "mpeg4", "audio": True, "time_base": Fraction(1, 25), "pts": list(range(25))},
    "ffv1.mkv": {"codec": "ffv1", "options": {"level": "3", "slicecrc": "1"}, "count": 8},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "count": 10},
    "png.png": {"codec": "png", "pix_fmt": "rgb24", "count": 1},
}

SEED = int(os.environ.get("DAMAGE_SEED", "0"))  # other seeds are for looking for new kinds of trouble
HANGS_AFTER_S = 600  # a busy machine is slow, and no hang ends by itself
MEMORY_LIMIT = 2 << 30  # beside what the libraries take
MEMORY_OF_A_READ_MIB = 500

_EXTREMES = [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\x7f\xff", b"\x01" + b"\xff" * 7, b"\x80\0\0\0"]
# Where sizes, counts and durations stand: boxes of MP4, elements of Matroska, chunks of AVI.
_MARKS = [b"tkhd", b"mdhd", b"mvhd", b"stsz", b"stts", b"ctts", b"stsc", b"stco", b"elst", b"avc1", b"apcn", b"moov"]
_MARKS += [
    b"mdat",
    b"\x1a\x45\xdf\xa3",
    b"\x18\x53\x80\x67",
    b"\x1f\x43\xb6\x75",
    b"\x16\x54\xae\x6b",
    b"\x1c\x53\xbb\x6b",
]
_MARKS += [
    b"\x44\x89",
    b"\x2a\xd7\xb1",
    b"\xe0",
    b"\xb0",
    b"\xba",
    b"avih",
    b"strh",
    b"strf",
    b"movi",
    b"idx1",
    b"IHDR",
]


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def flipped(data: bytes, chance: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(chance.choice([1, 1, 3, 30])):
        result[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(result)


def flipped_header(data: bytes, chance: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(chance.choice([1, 2, 5])):
        result[chance.randrange(min(len(data), 800))] ^= 1 << chance.randrange(8)
    return bytes(result)


def hole(data: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(data)), chance.choice([1, 16, 188, 1000])
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def lost(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.choice([1, 7, 188, 1000]) :]


def extreme(data: bytes, chance: random.Random) -> bytes:
    """An absurd number beside a mark."""
    mark = chance.choice([m for m in _MARKS if m in data] or [data[:4]])
    place = max(0, data.index(mark) + len(mark) + chance.choice([-8, 0, 0, 1, 4, 8, 12, 16, 20, 24, 28, 76, 80]))
    number = chance.choice(_EXTREMES)
    return data[:place] + number + data[place + len(number) :]


def swapped(data: bytes, chance: random.Random) -> bytes:
    middle = chance.randrange(1, len(data))
    return data[middle:] + data[:middle]


def garbage_after(data: bytes, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.choice([1, 100, 5000]))


def twice(data: bytes, chance: random.Random) -> bytes:
    return data + data[: chance.choice([len(data), len(data) // 2])]


DAMAGES: dict[Callable[[bytes, random.Random], bytes], int] = {
    truncated: 6,
    flipped: 6,
    flipped_header: 6,
    hole: 5,
    lost: 3,
    extreme: 8,
    swapped: 1,
    garbage_after: 1,
    twice: 2,
}


def damage(good: Path, folder: Path) -> int:
    """Fill the folder with damaged copies; how many."""
    data, chance = good.read_bytes(), random.Random(f"{SEED} {good.name}")
    for kind, count in DAMAGES.items():
        for number in range(count):
            (folder / f"{kind.__name__}-{number}{good.suffix}").write_bytes(kind(data, chance))
    (folder / f"empty{good.suffix}").write_bytes(b"")
    for suffix in {".mkv", ".mp4", ".ts", ".avi", ".png", ".txt"} - {good.suffix}:
        (folder / f"wrong-suffix{suffix}").write_bytes(data)
    return len(list(folder.iterdir()))


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_in_order_or_refused_in_one_line(tmp_path, name):
    folder = tmp_path / "damaged"
    folder.mkdir()
    count = damage(make_video(tmp_path / name, **KINDS[name]), folder)
    outcomes = dict(told_by_children(child, sorted(folder.iterdir()), tmp_path / "printed.txt"))
    bad = {case: outcome for case, outcome in outcomes.items() if not outcome.startswith(("read", "refused"))}
    assert not bad
    assert len(outcomes) == count >= 40
    assert sum(outcome.startswith("refused") for outcome in outcomes.values()) > count / 6


@pytest.mark.parametrize("name", [n for n in KINDS if n not in ("png.png",)])
def test_the_files_that_get_damaged_are_good(tmp_path, name):
    with open_reader(make_video(tmp_path / name, **KINDS[name])) as reader:
        assert len(list(reader)) == len(KINDS[name].get("pts") or range(KINDS[name].get("count", 25)))


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    path = make_video(tmp_path / "one.png", codec="png", pix_fmt="rgb24", count=1)
    data = bytearray(path.read_bytes())
    data[16:24] = (30000).to_bytes(4, "big") * 2
    path.write_bytes(data)
    with pytest.raises(PatchVSRError, match="declares 30000x30000 pixels; at most 16384"):
        open_reader(path)


@pytest.mark.parametrize("name", ["ffv1.mkv", "vp9.webm"])
def test_bits_flipped_where_only_the_log_tells_are_noticed(tmp_path, name):
    path = make_video(tmp_path / name, **KINDS[name])
    data = bytearray(path.read_bytes())
    if name == "ffv1.mkv":
        data[len(data) // 2] ^= 1  # inside a slice with a checksum
    else:
        block = data.index(b"\xa3", data.index(b"\x1f\x43\xb6\x75") + len(data) // 3)
        data[block : block + 3] = b"\xa3\x01\xff"  # the length of a block: the rest of the cluster is skipped
    path.write_bytes(data)
    with pytest.raises(PatchVSRError, match="frame"), open_reader(path) as reader:
        list(reader)


def told_by_children(child: Callable[..., None], cases: list[Any], printed: Path) -> Iterator[tuple[str, str]]:
    """(case, outcome) of each; what kills a child is the outcome of its case, and the next child goes on."""
    cases = list(cases)
    while cases:
        told, teller = forking.context().Pipe(duplex=False)
        process = forking.start(child, cases, teller, printed)
        teller.close()
        name = ""
        with contextlib.suppress(EOFError):
            while cases:
                name, outcome = told.recv()
                yield name, outcome
                cases = cases[1:]
        code = forking.ended(process)
        if cases:
            yield f"the case after {name!r}", f"killed its process ({code}): {printed.read_text()[-2000:]}"
            cases = cases[1:]


def read_all(path: Path) -> str:
    """Read a file to its end; what came of it."""
    try:
        with open_reader(path) as reader:
            previous, count = None, 0
            for frame in reader:
                if previous is not None and frame.pts <= previous:
                    return f"goes back in time: {previous} -> {frame.pts}"
                if not isinstance(frame.rgb, np.ndarray) or frame.rgb.shape != (
                    reader.info.height,
                    reader.info.width,
                    3,
                ):
                    return f"gives a picture of {frame.rgb.shape}"
                previous, count = frame.pts, count + 1
        return f"read {count} frames"
    except PatchVSRError as err:
        return f"refused: {err}" if "\n" not in str(err) and path.name in str(err) else f"not one line: {err}"
    except Exception as err:
        return f"raised {err!r}"


def child(files: list[Path], teller: Connection, printed: Path) -> None:
    """Read each file; (name, outcome) of each."""
    errors = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    faulthandler.enable()
    limit = psutil.Process().memory_info().vms + MEMORY_LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file in files:
        faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
        outcome = read_all(file)
        used_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if used_mib > MEMORY_OF_A_READ_MIB:
            outcome = f"took {used_mib:.0f} MiB: {outcome}"
        teller.send((file.name, outcome))
    faulthandler.cancel_dump_traceback_later()

"""Damaged inputs as jobs: an output that is whole and verifies, or one line and nothing left. Never a traceback."""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import sys
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import av
import pytest
import toy
from clips import irregular_pts, make_video

from patchvsr.errors import InputError, PatchVSRError
from patchvsr.events import Assembling
from patchvsr.jobs.verify import verify
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

sys.path.append(str(Path(__file__).parents[1] / "media"))
from test_damaged import SEED, damage, told_by_children

CONFIG = UpscaleSettings.of(scale=2, num_inference_steps=0)

SMALL = {"size": (32, 32), "audio": True, "options": {"g": "3"}}
KINDS: dict[str, dict] = {
    "h264.mkv": {**SMALL, "subtitles": True, "pts": irregular_pts(6)},
    "h264.mp4": {**SMALL, "pts": irregular_pts(6)},
    "h264.ts": {**SMALL, "count": 6},
    "vp9.webm": {"codec": "libvpx-vp9", "size": (32, 32), "count": 6, "options": {"cpu-used": "8"}},
    "mpeg4.avi": {**SMALL, "codec": "mpeg4", "time_base": Fraction(1, 25), "pts": list(range(6))},
}
OUTPUTS = {"h264.mp4": "out.mp4", "vp9.webm": "images"}  # else out.mkv

HANGS_AFTER_S = 600  # a busy machine is slow, and no hang ends by itself
MEMORY_LIMIT = 8 << 30
MEMORY_OF_A_JOB_MIB = 700


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline()


def damage_sound(good: Path, folder: Path) -> None:
    """Adds copies with bits flipped in and just before packets of sound and subtitles: nothing a decoder sees."""
    with av.open(str(good)) as container:
        places = [(p.pos, p.size) for p in container.demux() if p.size and p.pos and p.stream.type != "video"]
    data, chance = good.read_bytes(), random.Random(f"{SEED} sound of {good.name}")
    for number in range(12 if places else 0):
        place, size = chance.choice(places)
        damaged = bytearray(data)
        damaged[chance.randrange(max(0, place - 16), min(len(data), place + size))] ^= 1 << chance.randrange(8)
        (folder / f"sound-{number}{good.suffix}").write_bytes(damaged)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_input_gives_a_whole_output_or_one_line_and_nothing_left(tmp_path, name):
    good, folder = make_video(tmp_path / name, **KINDS[name]), tmp_path / "damaged"
    folder.mkdir()
    damage(good, folder)
    damage_sound(good, folder)
    cases = [(file, OUTPUTS.get(name, "out.mkv")) for file in sorted(folder.iterdir())]
    outcomes = dict(told_by_children(child, cases, tmp_path / "printed.txt"))
    assert len(outcomes) == len(cases) >= 40
    assert not {case: said for case, said in outcomes.items() if not said.startswith(("done", "refused"))}
    assert sum(said.startswith("refused") for said in outcomes.values()) > len(outcomes) / 8
    assert any(said.startswith("done") for said in outcomes.values())


def test_damaged_sound_is_told_before_the_work_starts(tmp_path, pipeline):
    """The decoder of the video sees nothing of it; the muxer, hours later, would."""
    source = make_video(tmp_path / "in.ts", **KINDS["h264.ts"])
    with av.open(str(source)) as container:
        sound = [p for p in container.demux() if p.size and p.stream.type == "audio" and p.pos][2]
    data = bytearray(source.read_bytes())
    frame = data.index(b"\xff\xf1", sound.pos)  # the mark that begins an ADTS frame
    data[frame] = 0
    source.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    seen = []
    with pytest.raises(
        InputError, match=r"stream 1 \(audio, aac, deu\) is damaged at about .* or leave that stream out"
    ):
        seen.extend(upscale(source, tmp_path / "out.mkv", CONFIG, pipeline=pipeline))
    assert sorted(tmp_path.iterdir()) == before
    without = CONFIG.replaced(skip_streams=(1,))
    assert list(upscale(source, tmp_path / "out.mkv", without, pipeline=pipeline))[-1].frames == 6


def outcome_of_job(source: Path, output: Path, pipeline: object) -> str:
    """What came of the upscale of one file, all that it leaves included."""
    began = False
    try:
        for event in upscale(source, output, CONFIG, pipeline=pipeline):
            began |= isinstance(event, Assembling)
    except PatchVSRError as error:
        left = sorted(file.name for file in output.parent.iterdir())
        if left:
            return f"left {left}: {error}"
        if began:
            return f"told only after the work: {error}"
        return f"refused: {error}" if "\n" not in str(error) else f"not one line: {error}"
    except Exception as error:
        return f"raised {error!r}"
    difference = verify(output).difference
    return "done" if difference is None else f"does not verify: {difference}"


def child(cases: list[tuple[Path, str]], teller: Connection, printed: Path) -> None:
    """Upscale each file; (case, outcome) of each."""
    errors = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    pipeline = toy.pipeline()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path, output in cases:
        faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
        folder = path.parent.parent / "jobs" / path.name
        folder.mkdir(parents=True)
        said = outcome_of_job(path, folder / output, pipeline)
        used_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if used_mib > MEMORY_OF_A_JOB_MIB:
            said = f"took {used_mib:.0f} MiB: {said}"
        teller.send((path.name, said))
    faulthandler.cancel_dump_traceback_later()

"""Out of memory: smaller pieces, the same bytes, and a record of it."""

import json

import pytest
import torch
import toy
from jobfiles import digest, make_shots, run

from patchvsr.errors import SettingsError
from patchvsr.events import Notice
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.stepdown import LEAST_TILE_PX, Pieces

CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)
ERRORS = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU_ALLOCATOR)]


class Limited:
    """The real pipeline on a machine that cannot hold more than so much at once."""

    def __init__(self, pipeline, batch_size, tile_px, error):
        self._pipeline, self._most, self._error = pipeline, (batch_size, tile_px), error
        self.asked, self.decoded, self.unlimited_frames = [], 0, 18

    def __getattr__(self, name):
        return getattr(self._pipeline, name)

    def denoise(self, lq, size, settings, **state):
        self.check("denoise", settings.batch_size, settings.tile_px)
        return self._pipeline.denoise(lq, size, settings, **state)

    def decoder(self, *clip, **state):
        return LimitedDecoder(self._pipeline.decoder(*clip, **state), self)

    def check(self, name, batch_size, tile_px):
        self.asked.append((name, batch_size, tile_px))
        if batch_size > self._most[0] or tile_px > self._most[1]:
            raise self._error


class LimitedDecoder:
    """The real decoder; memory runs out only in the second chunk, whose unit then begins again with the first."""

    def __init__(self, decoder, limits):
        self._decoder, self._limits = decoder, limits

    def __getattr__(self, name):
        return getattr(self._decoder, name)

    def decode(self, run, tile_px):
        self._limits.decoded += 1
        if self._limits.decoded > self._limits.unlimited_frames:
            self._limits.check("decode", 1, tile_px)
        return self._decoder.decode(run, tile_px)


@pytest.mark.parametrize("error", ERRORS, ids=["python", "cuda", "cpu"])
def test_smaller_pieces_give_the_same_bytes_and_are_recorded(tmp_path, error):
    source, pipeline = make_shots(tmp_path / "in.mkv", (21,)), toy.pipeline(num_inference_steps=1)
    run(source, tmp_path / "whole.mkv", pipeline, batch_size=8)
    limited = Limited(pipeline, 1, 240, error)
    events = run(source, tmp_path / "out.mkv", limited, batch_size=4)
    tried = [(4, 3840), (2, 3840), (1, 3840), (1, 1920), (1, 960), (1, 480), (1, 240)]
    assert limited.asked[:7] == [("denoise", *sizes) for sizes in tried]
    assert {sizes[1:] for sizes in limited.asked[7:]} == {(1, 240)}  # what was learned is kept
    assert digest(tmp_path / "out.mkv") == digest(tmp_path / "whole.mkv")
    told = [event.text for event in events if isinstance(event, Notice)]
    assert told[-1] == (
        "out of memory: starting the unit again with batches of 1 and tiles of 240 pixels (slower, same result)"
    )
    efforts = JobFolder(tmp_path / "out.mkv").read_efforts()
    assert all((effort["batch_size"], effort["tile_px"]) == (1, 240) for effort in efforts)
    assert json.loads((tmp_path / "out.mkv.job" / "result.json").read_text())["units"] == efforts


def test_too_little_for_the_smallest_pieces_is_told(tmp_path):
    source = make_shots(tmp_path / "in.mkv", (21,))
    limited = Limited(toy.pipeline(num_inference_steps=1), 1, LEAST_TILE_PX - 1, MemoryError())
    with pytest.raises(SettingsError, match="not enough memory even for single patches") as caught:
        run(source, tmp_path / "out.mkv", limited)
    assert "\n" not in str(caught.value) and "--chunk-frames" in str(caught.value)


def test_other_errors_are_not_taken_for_it():
    pieces = Pieces(4, 640)

    def work():
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(pieces.retried(work))
    assert (pieces.batch_size, pieces.new_notices()) == (4, [])


class FailsOnce(Limited):
    """The real pipeline; memory runs out once, at this frame that is decoded."""

    def __init__(self, pipeline, at_frame):
        super().__init__(pipeline, 1, 3840, MemoryError())
        self._at_frame, self.unlimited_frames = at_frame, 0

    def denoise(self, *clip, **state):
        return self._pipeline.denoise(*clip, **state)

    def check(self, name, batch_size, tile_px):
        if self.decoded >= self._at_frame:
            self._at_frame = 1000
            raise self._error


@pytest.mark.parametrize("steps", [0, 1])
def test_a_unit_inside_a_shot_begins_again_from_the_state_before_it(tmp_path, steps):
    """Its first attempt has used up what the unit before handed over in memory."""
    source, pipeline = make_shots(tmp_path / "in.mkv", (21,)), toy.pipeline(num_inference_steps=steps)
    run(source, tmp_path / "whole.mkv", pipeline)
    fails_once = FailsOnce(pipeline, at_frame=15)
    assert any("starting the unit again" in str(event) for event in run(source, tmp_path / "out.mkv", fails_once))
    assert digest(tmp_path / "out.mkv") == digest(tmp_path / "whole.mkv")

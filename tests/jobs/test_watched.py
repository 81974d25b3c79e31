"""A watched job: every frame is shown, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy
from clips import make_video

from patchvsr.jobs.here import Here
from patchvsr.jobs.watched import Watched
from patchvsr.media import Frame
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

SETTINGS = UpscaleSettings.of(scale=2, num_inference_steps=0, chunk_frames=5, unit_frames=5)


def test_every_frame_is_shown_in_order_and_the_output_is_the_same(tmp_path: Path) -> None:
    source, pipeline, shown = make_video(tmp_path / "in.mp4", count=12), toy.pipeline(), []
    watched = lambda: Watched(Here(pipeline), lambda frame: shown.append(frame.pts))  # noqa: E731
    list(upscale(source, tmp_path / "watched.mkv", SETTINGS, get_engine=watched))
    list(upscale(source, tmp_path / "alone.mkv", SETTINGS, pipeline=pipeline))
    assert len(shown) == 12 and shown == sorted(shown)
    assert (tmp_path / "watched.mkv").read_bytes() == (tmp_path / "alone.mkv").read_bytes()


def test_whoever_looks_can_stop_the_job(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    seen = 0

    def look(frame: Frame) -> None:
        nonlocal seen
        seen += 1
        if seen == 8:
            raise Enough

    source, pipeline = make_video(tmp_path / "in.mp4", count=12), toy.pipeline()
    with pytest.raises(Enough):
        list(upscale(source, tmp_path / "out.mkv", SETTINGS, get_engine=lambda: Watched(Here(pipeline), look)))
    assert sorted(file.name for file in (tmp_path / "out.mkv.job").glob("unit-*.bin")) == ["unit-00000.bin"]

"""Faults planted in decoder, colour match and encoder: the job names them and stops, and publishes nothing."""

from __future__ import annotations

import av
import pytest
import toy
from clips import make_video
from jobfiles import digest, run
from torch import Tensor

from patchvsr import decoding
from patchvsr.errors import UnfaithfulError
from patchvsr.events import Finished
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.verify import verify
from patchvsr.media.color import ColorConverter
from patchvsr.models.tiles import TiledDecoder

SPOILED = 23  # in the third of four units


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline(num_inference_steps=0)


def spoil_from(monkeypatch, owner, name, spoil, *, call=SPOILED):
    """Replace what a function returns by `spoil` of it, from its given call on; returns how to stop that."""
    right, calls = getattr(owner, name), iter(range(10**6))

    def wrong(*args, **kwargs):
        result = right(*args, **kwargs)
        return spoil(result) if next(calls) >= call else result

    monkeypatch.setattr(owner, name, wrong)


def reordered(frame: av.VideoFrame) -> av.VideoFrame:
    """Swap the two planes of chroma, or mirror the bytes of packed pixels."""
    planes = [bytes(plane) for plane in frame.planes]
    planes = planes[:1] + planes[:0:-1] if len(planes) > 1 else [planes[0][::-1]]
    for plane, data in zip(frame.planes, planes, strict=True):
        plane.update(data)
    return frame


def reddened(video: Tensor) -> Tensor:
    """Add a tint of 8 levels to (3, F, H, W) in [-1, 1]."""
    video[0] += 8 / 127.5
    return video.clamp_(-1, 1)


FAULTS = {
    "black decoder": (TiledDecoder, "decode", lambda x: x.fill_(-1), "decoding", "is black"),
    "flat decoder": (TiledDecoder, "decode", lambda x: x.fill_(0), "decoding", "is a flat colour"),
    "decoder with BGR": (TiledDecoder, "decode", lambda x: x.flip(0), "decoding", "has its channels in the order BGR"),
    "decoder that shifts": (TiledDecoder, "decode", lambda x: x.roll(8, -1), "decoding", "is shifted|shows something"),
    "black colour match": (decoding, "match_color_", lambda x: x.fill_(-1), "colour matching", "is black"),
    "tinting colour match": (decoding, "match_color_", reddened, "colour matching", "has another tint"),
    "colour match with BGR": (
        decoding,
        "match_color_",
        lambda x: x.flip(0),
        "colour matching",
        "has its channels in the order BGR",
    ),
    "encoder with other chroma": (ColorConverter, "from_rgb", reordered, "encoding", "has|shows|differs"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_stops_the_job_and_is_named(tmp_path, monkeypatch, pipeline, source, whole, name):
    owner, function, spoil, stage, fault = FAULTS[name]
    target = tmp_path / "out.mkv"
    with monkeypatch.context() as planted:
        spoil_from(planted, owner, function, spoil)
        said = rf"frame {SPOILED} at 0\.920 s is wrong after {stage}: it ({fault})"
        with pytest.raises(UnfaithfulError, match=said) as caught:
            run(source, target, pipeline)
    assert (caught.value.stage, caught.value.frame) == (stage, SPOILED)
    assert "\n" not in str(caught.value)
    folder = JobFolder(target)
    assert not target.exists() and [folder.is_done(unit) for unit in range(4)] == [True, True, False, False]
    assert not folder.segment_path(2).exists()
    assert isinstance(run(source, target, pipeline)[-1], Finished)
    assert digest(target) == whole


def test_without_the_check_the_fault_is_published_and_found_later(tmp_path, monkeypatch, pipeline, source, whole):
    target = tmp_path / "out.mkv"
    with monkeypatch.context() as planted:
        spoil_from(planted, decoding, "match_color_", reddened)
        run(source, target, pipeline, check=False)
    assert verify(target).difference is None
    assert verify(target, deep=True).difference.startswith(f"frame {SPOILED} at 0.920 s has another tint (red +")
    run(source, target.with_name("good.mkv"), pipeline, check=False)
    assert digest(target.with_name("good.mkv")) == whole


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "images", "out.webm"])
def test_the_encoder_of_every_kind_of_output_is_checked(tmp_path, monkeypatch, pipeline, name):
    source = make_video(tmp_path / "in.mkv", count=5)
    with monkeypatch.context() as planted:
        spoil_from(planted, ColorConverter, "from_rgb", reordered, call=0)
        with pytest.raises(UnfaithfulError, match=r"frame 0 at 0\.000 s is wrong after encoding"):
            run(source, tmp_path / name, pipeline)

"""From file to file with the real classes at toy size: counts, times, streams, bytes, and nothing half-written."""

import hashlib
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
import toy
from clips import irregular_pts, make_video, packets, picture

from patchvsr.errors import InputError, OutputError
from patchvsr.events import Finished, Progress, Started
from patchvsr.media import open_reader
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

CHUNKS = dict(chunk_frames=9, overlap_frames=5)


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline(num_inference_steps=1)


def run(source, target, pipeline, **settings):
    config = UpscaleSettings.of(**(dict(scale=2, **CHUNKS) | settings))
    return list(upscale(source, target, config, pipeline=pipeline))


def times(path):
    with open_reader(path) as reader:
        return [Fraction(frame.pts) * frame.time_base for frame in reader]


def pixels(path):
    with open_reader(path) as reader:
        return np.stack([frame.rgb for frame in reader])


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_every_frame_time_and_packet_survives(tmp_path, pipeline, name):
    source = make_video(tmp_path / "in.mkv", pts=irregular_pts(23), audio=True, subtitles=name.endswith("mkv"))
    events = run(source, tmp_path / name, pipeline)
    assert times(tmp_path / name) == times(source)
    assert len(times(source)) == 23
    if name.endswith("mp4"):  # Matroska's clock of 1 ms rounds what it says of durations; times and payload are exact
        strip = [(time, payload) for time, _, payload in packets(source, "audio")]
        assert [(time, payload) for time, _, payload in packets(tmp_path / name, "audio")] == strip
    else:
        assert packets(tmp_path / name, "audio") == packets(source, "audio")
        assert packets(tmp_path / name, "subtitle") == packets(source, "subtitle")
    assert isinstance(events[0], Started)
    assert events[0].output_size == (128, 128)
    assert [event.frames for event in events if isinstance(event, Progress)] == [9, 13, 17, 21, 23]
    assert isinstance(events[-1], Finished)
    assert events[-1].frames == 23


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10, 13, 14])
def test_any_number_of_frames(tmp_path, pipeline, count):
    source = make_video(tmp_path / "in.mkv", count=count)
    run(source, tmp_path / "out.mkv", pipeline)
    assert len(times(tmp_path / "out.mkv")) == count


def test_same_bytes_again_and_other_bytes_for_another_seed(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=12)
    digests = []
    for name, settings in (("a", {}), ("b", {}), ("c", dict(batch_size=3)), ("d", dict(seed=1))):
        run(source, tmp_path / f"{name}.mkv", pipeline, **settings)
        digests.append(hashlib.sha256((tmp_path / f"{name}.mkv").read_bytes()).hexdigest())
    assert digests[0] == digests[1] == digests[2] != digests[3]


def test_chunks_hand_their_latents_on(tmp_path, pipeline):
    """The second chunk's first new frame depends on the first chunk only through the latents handed on."""
    source = make_video(tmp_path / "in.mkv", count=13)
    run(source, tmp_path / "whole.mkv", pipeline, codec="ffv1")
    given = []
    original = pipeline._denoise

    def spy(*args):
        given.append(args[4])
        return original(*args)

    pipeline._denoise = spy
    try:
        run(source, tmp_path / "again.mkv", pipeline, codec="ffv1")
    finally:
        del pipeline._denoise
    assert given[0] is None
    assert given[1].shape[1] == 2
    assert torch.isfinite(given[1]).all()
    assert np.array_equal(pixels(tmp_path / "whole.mkv"), pixels(tmp_path / "again.mkv"))


def test_a_range_of_seconds(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=25)
    run(source, tmp_path / "out.mkv", pipeline, start_s=0.2, end_s=0.6)
    assert times(tmp_path / "out.mkv") == [time - Fraction(1, 5) for time in times(source)[5:15]]


def test_deep_sources_stay_deep(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=3, codec="ffv1", pix_fmt="gbrp16le")
    run(source, tmp_path / "out.mkv", pipeline, codec="ffv1", num_inference_steps=0)
    assert pixels(tmp_path / "out.mkv").dtype == np.uint16
    assert len(np.unique(pixels(tmp_path / "out.mkv"))) > 256


def test_png_sequence_in_and_out(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=3)
    run(source, tmp_path / "images", pipeline)
    run(tmp_path / "images", tmp_path / "larger", pipeline)
    assert pixels(tmp_path / "larger").shape == (3, 256, 256, 3)


@pytest.mark.parametrize("failure", [FloatingPointError("nan"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_that_looks_finished(tmp_path, pipeline, failure):
    source = make_video(tmp_path / "in.mkv", count=13)
    events = upscale(source, tmp_path / "out" / "out.mkv", UpscaleSettings.of(scale=2, **CHUNKS), pipeline=pipeline)
    next(events)
    next(events)
    with pytest.raises(type(failure)):
        events.throw(failure)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_existing_output_is_kept(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=3)
    target = tmp_path / "out.mkv"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        run(source, target, pipeline)
    assert target.read_bytes() == b"precious"
    run(source, target, pipeline, overwrite=True)
    assert len(times(target)) == 3


def test_a_truncated_input_leaves_no_output(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mp4", count=50)
    source.write_bytes(source.read_bytes()[:-2000])
    with pytest.raises(InputError):
        run(source, tmp_path / "out.mkv", pipeline)
    assert not (tmp_path / "out.mkv").exists()


def make_shots(path, *shots):
    """A lossless video of shots of given hue and number of frames, each a gradient that moves."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr0"
        number = 0
        for hue, count in shots:
            for index in range(count):
                rgb = np.roll(picture(index), hue, axis=2) // (1 + hue)
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="bgr0")
                frame.pts, number = number, number + 1
                out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_no_frame_knows_of_another_shot(tmp_path, pipeline):
    """What follows a cut is the same to the bit, whatever went before it."""
    lossless = dict(codec="ffv1", overlap_frames=1)
    for name, first in (("a", 0), ("b", 2)):
        run(make_shots(tmp_path / f"{name}.mkv", (first, 11), (1, 14)), tmp_path / f"{name}2.mkv", pipeline, **lossless)
    before, after = (pixels(tmp_path / f"{name}2.mkv") for name in "ab")
    assert np.array_equal(before[11:], after[11:])
    assert not np.array_equal(before[10], after[10])


def test_a_shot_is_restored_as_if_it_were_alone(tmp_path, pipeline):
    lossless = dict(codec="ffv1", num_inference_steps=0, overlap_frames=1)
    run(make_shots(tmp_path / "both.mkv", (0, 11), (1, 14)), tmp_path / "both2.mkv", pipeline, **lossless)
    run(make_shots(tmp_path / "alone.mkv", (1, 14)), tmp_path / "alone2.mkv", pipeline, **lossless)
    assert np.array_equal(pixels(tmp_path / "both2.mkv")[11:], pixels(tmp_path / "alone2.mkv"))

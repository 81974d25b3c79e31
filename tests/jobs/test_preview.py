"""A preview shows the pixels of the job, in a picture or a clip, and writes nothing else."""

import numpy as np
import pytest
import torch
import toy
from clips import make_video

from patchvsr.errors import OutputError, SettingsError
from patchvsr.jobs.preview import LINE_PX, parse_crop, preview
from patchvsr.media import open_reader
from patchvsr.pixels.size import Size
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

SETTINGS = dict(scale=2, chunk_frames=9, overlap_frames=5, num_inference_steps=1)


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline(num_inference_steps=1)


def look(source, target, pipeline, *, at_s=None, seconds=0.0, crop=None, **settings):
    config = UpscaleSettings.of(**(SETTINGS | settings))
    return preview(source, target, config, lambda _: pipeline, at_s=at_s, seconds=seconds, crop=crop)


def pixels(path):
    with open_reader(path) as reader:
        return np.stack([frame.rgb for frame in reader])


@pytest.mark.parametrize(("steps", "mode"), [(0, "auxiliary"), (1, "auxiliary"), (3, "shifted")])
@pytest.mark.parametrize("area", [(0, 20, 0, 30), (100, 140, 180, 222), (217, 247, 300, 330)])
def test_an_area_is_what_it_is_in_the_whole(pipeline, steps, mode, area):
    video = toy.video(5, 30, 40)
    settings = dict(size=(330, 247), num_inference_steps=steps, joint_mode=mode, color_match=False)
    whole, part = pipeline(video, **settings).frames, pipeline(video, area=area, **settings).frames
    y0, y1, x0, x1 = area
    assert torch.allclose(part, whole[..., y0:y1, x0:x1], atol=1e-6)


def test_colours_of_an_area_are_matched_as_in_the_whole(pipeline):
    video = toy.video(1, 150, 150)
    settings = dict(size=(300, 300), num_inference_steps=0)
    whole, part = pipeline(video, **settings).frames, pipeline(video, area=(0, 20, 280, 300), **settings).frames
    assert torch.allclose(part, whole[..., 0:20, 280:300], atol=1e-6)


def test_what_an_area_does_not_depend_on_is_not_computed(pipeline):
    boxes = []
    hook = pipeline.transformer.register_forward_hook(lambda *_: boxes.append(1))
    settings = dict(size=(330, 247), num_inference_steps=1, color_match=False)
    pipeline(toy.video(5, 30, 40), area=(0, 8, 0, 8), **settings)
    hook.remove()
    assert 0 < len(boxes) < pipeline.count_patches(5, Size(330, 247), "auxiliary")


def test_a_picture_shows_the_frame_of_the_job_beside_bicubic(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=5, codec="ffv1", pix_fmt="bgr0")
    list(upscale(source, tmp_path / "job.mkv", UpscaleSettings.of(**SETTINGS, codec="ffv1"), pipeline=pipeline))
    made = look(source, tmp_path / "look.png", pipeline, at_s=0.12, crop=(8, 16, 40, 30))
    shown = pixels(tmp_path / "look.png")[0]
    assert shown.shape == (60, 2 * 80 + LINE_PX, 3)
    assert (shown[:, 80 : 80 + LINE_PX] == 255).all()
    assert np.array_equal(shown[:, 80 + LINE_PX :], pixels(tmp_path / "job.mkv")[3, 32:92, 16:96])
    assert (made.frames, made.size, made.job_frames) == (1, (80, 60), 5)
    assert made.start_s == pytest.approx(0.12)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.mkv", "job.mkv", "job.mkv.job", "look.png"]


@pytest.mark.parametrize(("at_s", "shown_s"), [(0, 0), (None, 0.48), (0.95, 0.96)])
def test_the_first_a_middle_and_the_last_frame(tmp_path, pipeline, at_s, shown_s):
    source = make_video(tmp_path / "in.mkv", count=25)
    made = look(source, tmp_path / "look.png", pipeline, at_s=at_s, num_inference_steps=0)
    assert made.start_s == pytest.approx(shown_s, abs=0.041)
    assert made.job_frames == 25


def test_deep_sources_make_deep_pictures(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=3, codec="ffv1", pix_fmt="gbrp16le")
    look(source, tmp_path / "look.png", pipeline, num_inference_steps=0)
    assert pixels(tmp_path / "look.png").dtype == np.uint16


def test_pictures_of_turned_videos_stand_upright(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mp4", count=3, size=(96, 64), rotation=90)
    made = look(source, tmp_path / "look.png", pipeline, num_inference_steps=0)
    assert made.size == (128, 192)
    assert pixels(tmp_path / "look.png")[0].shape == (192, 2 * 128 + LINE_PX, 3)


def test_a_clip_has_the_times_of_its_source(tmp_path, pipeline):
    pts = [0, 40, 100, 130, 200, 280, 300, 390, 420, 500, 530, 560, 640]
    source = make_video(tmp_path / "in.mkv", pts=pts, audio=True)
    made = look(source, tmp_path / "look.mkv", pipeline, at_s=0.1, seconds=0.45, crop=(0, 0, 32, 32))
    with open_reader(tmp_path / "look.mkv") as reader:
        frames = list(reader)
        assert [stream.codec for stream in reader.info.streams] == ["h264"]
    assert [float(frame.time_s) for frame in frames] == pytest.approx([(x - 100) / 1000 for x in pts[2:11]])
    assert frames[0].rgb.shape == (64, 2 * 64 + LINE_PX, 3)
    assert made.frames == 9


REFUSED = {
    "crop": (dict(crop=(60, 0, 10, 10)), SettingsError, "does not lie in the 64x64 pixels"),
    "exists": (dict(target="there.png"), OutputError, "there.png"),
    "input": (dict(target="in.mkv", seconds=1, overwrite=True), OutputError, "is the input"),
    "picture": (dict(target="look.mp4"), SettingsError, "a single moment is written as PNG"),
    "clip": (dict(seconds=1), SettingsError, "name it .mp4"),
    "past the end": (dict(at_s=9.0), Exception, "no frame"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(tmp_path, pipeline, name):
    source = make_video(tmp_path / "in.mkv", count=5)
    (tmp_path / "there.png").write_bytes(b"precious")
    choices, error, message = REFUSED[name]
    target = tmp_path / choices.get("target", "look.png")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(error, match=message):
        look(source, target, pipeline, **{key: value for key, value in choices.items() if key != "target"})
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_crop_is_four_numbers():
    assert parse_crop("1,2,30,40") == (1, 2, 30, 40)
    with pytest.raises(SettingsError, match="X,Y,WIDTH,HEIGHT"):
        parse_crop("1,2,30")

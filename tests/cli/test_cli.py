"""The command as a user runs it: exit codes, one clear line, JSON events."""

import json
import signal
from pathlib import Path

import command
import pytest
import toy
from clips import make_video
from forked_command import Forked


@pytest.mark.slow
def test_upscale_reports_events_as_json(tmp_path, model):
    source = make_video(tmp_path / "in put ä.mkv", count=5, audio=True)
    done = command.run("upscale", source, "-o", tmp_path / "out.mkv", "-s", 2, "--model", model, "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds == ["started", *["scanning"] * 5, "planned", "progress", "assembling", "finished"]
    assert events[-1]["frames"] == 5
    assert (tmp_path / "out.mkv").is_file()


def test_several_inputs_go_into_a_folder(tmp_path, model, patchvsr):
    sources = [make_video(tmp_path / f"{name}.mp4", count=2) for name in "ab"]
    done = patchvsr("upscale", *sources, "-o", tmp_path / "out", "-s", 2, "--model", model)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "out").glob("*.mkv")) == ["a.mkv", "b.mkv"]


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once_and_the_same_command_goes_on(tmp_path, model, patchvsr):
    source = make_video(tmp_path / "in.mkv", count=120, size=(48, 48))
    words = ["upscale", source, "-o", tmp_path / "out.mkv", "-s", 2, "--steps", 0, "--model", model, "--json"]
    with Forked(*words) as process:
        while b"progress" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        assert b"press Ctrl-C again" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert b"run the same command again to resume" in said
    assert not (tmp_path / "out.mkv").exists()
    assert patchvsr(*words).returncode == 0
    assert patchvsr("verify", tmp_path / "out.mkv").returncode == 0


BAD = {
    "missing": (["nope.mp4"], "no such file"),
    "not a video": (["text.mp4"], "text.mp4"),
    "empty": (["empty.mp4"], "empty.mp4"),
    "no video stream": (["sound.m4a"], "video"),
    "truncated": (["cut.mp4"], "cut.mp4"),
    "output exists": (["good.mp4", "-o", "exists.mkv"], "exists"),
    "unknown model": (["good.mp4", "--model", "unknown"], "unknown model"),
    "scale": (["good.mp4", "--scale", "0"], "scale"),
    "smaller": (["good.mp4", "--size", "32x32"], "smaller"),
    "codec": (["good.mp4", "--codec", "h266"], "h266"),
    "option": (["good.mp4", "-e", "nonsense"], "KEY=VALUE"),
    "device": (["good.mp4", "--device", "abacus"], "abacus"),
    "usage": (["good.mp4", "--no-such-option"], "No such option"),
}


@pytest.fixture(scope="module")
def bad_inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    good = make_video(folder / "good.mp4", count=40)
    (folder / "text.mp4").write_text("this is no video")
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "exists.mkv").write_text("precious")
    make_sound(folder / "sound.m4a")
    return folder


def make_sound(path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_one_clear_line(bad_inputs, model, monkeypatch, patchvsr, name):
    monkeypatch.chdir(bad_inputs)
    words, message = BAD[name]
    before = {file: file.read_bytes() for file in bad_inputs.iterdir()}
    output = [] if "-o" in words else ["-o", "out.mkv"]
    chosen = [] if "--model" in words else ["--model", model]
    done = patchvsr("upscale", *words, *output, *chosen)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if name != "usage":  # the parser adds its own usage lines
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert {file: file.read_bytes() for file in bad_inputs.iterdir()} == before


@pytest.mark.parametrize("name", ["missing", "usage"])
def test_a_process_of_its_own_ends_with_the_same_code_and_line(bad_inputs, monkeypatch, name):
    monkeypatch.chdir(bad_inputs)
    words, message = BAD[name]
    done = command.run("upscale", *words, "-o", "out.mkv")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_degrade_makes_a_set_and_checks_it(tmp_path, patchvsr):
    (tmp_path / "hq").mkdir()
    make_video(tmp_path / "hq" / "a clip.mp4", count=4)
    made = patchvsr("degrade", tmp_path / "hq", tmp_path / "lq", "-s", 2, "--frames", 3, "--degradation", "medium")
    assert made.returncode == 0 and "1 clips, 3 frames" in made.stderr, made.stderr
    assert json.loads((tmp_path / "lq" / "lq_set.json").read_text())["settings"]["strength"] == 0.5
    assert patchvsr("degrade", tmp_path / "hq", tmp_path / "lq", "--check").returncode == 0


BAD_SETS = {
    "not a video": (["texts", "lq"], "text.mp4"),
    "degradation": (
        ["hq", "lq", "--degradation", "worse"],
        "unknown degradation 'worse': choose one of bicubic, light, medium, realbasicvsr",
    ),
    "no set": (["hq", "empty", "--check"], "no readable lq_set.json"),
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_bad_sets_give_one_clear_line(tmp_path, monkeypatch, patchvsr, name):
    monkeypatch.chdir(tmp_path)
    for folder in ("hq", "empty", "texts"):
        Path(folder).mkdir()
    make_video(Path("hq/good.mp4"), count=2)
    make_video(Path("texts/good.mp4"), count=2)
    Path("texts/text.mp4").write_text("this is no video")
    words, message = BAD_SETS[name]
    done = patchvsr("degrade", *words)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "hq", "texts"]


def test_info_of_a_file_and_of_a_model(tmp_path, model, patchvsr):
    clip = make_video(tmp_path / "clip.mkv", count=3, audio=True)
    about_clip, about_model = patchvsr("info", clip), patchvsr("info", model)
    assert about_clip.returncode == about_model.returncode == 0
    assert "audio, aac, deu" in about_clip.stdout
    assert "PatchVSRTransformer3DModel" in about_model.stdout


def test_a_model_without_a_transformer_upscales_and_refuses_what_needs_one(tmp_path, patchvsr):
    toy.feed_forward_pipeline().save_pretrained(tmp_path / "model")
    make_video(tmp_path / "in.mkv", count=3)
    upscale = ["upscale", tmp_path / "in.mkv", "-o", tmp_path / "out.mkv", "--model", tmp_path / "model"]
    for words, message in (
        ([*upscale, "--steps", 1], "num_inference_steps is 1: this model has no transformer; give 0"),
        ([*upscale, "--compile"], "compile is for the transformer, and this model has none"),
        (["study", "joint", "--model", tmp_path / "model", "--out", tmp_path / "study"], "no transformer to study"),
    ):
        done = patchvsr(*words)
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "model"]
    upscale.append("--no-check")  # its random weights need not show what the input shows
    assert [patchvsr(*upscale, *more).returncode for more in (["--plan"], [])] == [0, 0]


def test_no_command_shows_help(patchvsr):
    assert "upscale" in patchvsr().stderr


def test_a_plan_of_two_inputs_and_a_preview(tmp_path, model, monkeypatch, patchvsr):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        make_video(Path(f"{name}.mp4"), count=3)
    words = ["-s", 2, "--model", model]
    planned = patchvsr("upscale", "a.mp4", "b.mp4", "-o", "out", "--plan", "--json", *words)
    assert planned.returncode == 0, planned.stderr
    kinds = [json.loads(line)["event"] for line in planned.stdout.splitlines()]
    assert kinds == ["plan", "plan", "sum"]
    shown = patchvsr("preview", "a.mp4", "--at", 0.04, "--crop", "0,0,32,32", *words)
    assert shown.returncode == 0, shown.stderr
    assert "64x64 pixels each, the frame at 0.04 seconds" in shown.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "a_preview.png", "b.mp4"]

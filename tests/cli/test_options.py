"""Options: every setting is one, presets give way to them, and what is saved makes the same settings again."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import av
import click
import pytest
import typer
from clips import make_video
from typer.testing import CliRunner

from patchvsr.cli import main as cli
from patchvsr.cli.options import takes_settings
from patchvsr.errors import SettingsError
from patchvsr.jobs.preview import LINE_PX
from patchvsr.presets import load_preset, save_preset
from patchvsr.settings import UpscaleSettings, setting_groups

DECLARED = {f.name: f for group in setting_groups().values() for f in fields(group) if "help" in f.metadata}
# What a preview decides itself: its range and how it is encoded.
NOT_OF_A_PREVIEW = {"start_s", "end_s", "codec", "crf", "pix_fmt", "encoder_options", "skip_streams"}


def options(command: str) -> dict[str, click.Option]:
    commands = typer.main.get_command(cli.app).commands
    return {p.name: p for p in commands[command].params if isinstance(p, click.Option) or p.param_type_name == "option"}


# --- declared once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DECLARED)
def test_every_setting_is_an_option_with_its_help(name):
    told, option = DECLARED[name].metadata, options("upscale")[name]
    flags = {part for flag in told["flags"] for part in flag.split("/")}
    assert {*option.opts, *option.secondary_opts} == (flags or {f"--{name.replace('_', '-')}"})
    assert option.help == told["help"]
    assert told["help"].endswith(".")


def test_what_is_not_declared_is_no_option():
    undeclared = {f.name for group in setting_groups().values() for f in fields(group)} - DECLARED.keys()
    assert undeclared == {"tile_px", "overlap_frames", "unit_frames"}
    assert not undeclared & options("upscale").keys()


def test_no_two_options_share_a_flag():
    for command in ("upscale", "preview"):
        flags = [flag for option in options(command).values() for flag in (*option.opts, *option.secondary_opts)]
        assert len(flags) == len(set(flags))


@pytest.mark.parametrize("command", ["upscale", "preview"])
def test_help_shows_every_option_with_its_default(patchvsr, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "100")
    done = patchvsr(command, "--help")
    assert done.returncode == 0
    said = " ".join(done.stdout.split())
    for name in DECLARED.keys() & options(command).keys():
        told = DECLARED[name].metadata
        assert told["help"] in said
        if told["default_text"]:
            assert f"[default: {told['default_text']}]" in said or f"[default: ({told['default_text']})]" in said


def test_a_preview_takes_the_same_options_but_none_of_the_encoding():
    upscale, preview = options("upscale"), options("preview")
    assert DECLARED.keys() & upscale.keys() - preview.keys() == NOT_OF_A_PREVIEW
    for name in DECLARED.keys() - NOT_OF_A_PREVIEW:
        assert (preview[name].opts, preview[name].help) == (upscale[name].opts, upscale[name].help)


@pytest.mark.parametrize("option", ["--codec", "--crf", "--encoder-option", "--skip-stream", "--start"])
def test_a_preview_refuses_what_it_decides_itself(patchvsr, option):
    done = patchvsr("preview", "in.mkv", option, "1")
    assert done.returncode == 2
    assert "No such option" in done.stderr


# --- from words to settings ---------------------------------------------------------------------------------

# A value that is not the default for every option, as a user gives it.
GIVEN: dict[str, tuple[list[Any], Any]] = {
    "start_s": (["--start", 0.5], 0.5),
    "end_s": (["--end", 2], 2.0),
    "deinterlace": (["--deinterlace", "field"], "field"),
    "rate": (["--rate", "24000/1001"], "24000/1001"),
    "scale": (["-s", 2], 2.0),
    "size": (["--size", "4k"], "4k"),
    "allow_smaller": (["--allow-smaller"], True),
    "num_inference_steps": (["--steps", 0], 0),
    "joint_mode": (["--joint", "overlap"], "overlap"),
    "scheduler": (["--scheduler", "unipc"], "unipc"),
    "seed": (["--seed", 7], 7),
    "model": (["--model", "owner/model"], "owner/model"),
    "restoration": (["--restoration", 0.5], 0.5),
    "noise_timestep": (["--noise", 200], 200.0),
    "branch_scale": (["--branch-scale", 0.5], 0.5),
    "detail": (["--detail", 0.5], 0.5),
    "strength": (["--strength", 0.3], 0.3),
    "base": (["--base", "wan2.1-1.3b"], "wan2.1-1.3b"),
    "color_match": (["--no-color-match"], False),
    "check": (["--no-check"], False),
    "independent_units": (["--independent-units"], True),
    "chunk_frames": (["--chunk-frames", 9], 9),
    "device": (["--device", "cpu"], "cpu"),
    "dtype": (["--dtype", "float32"], "float32"),
    "storage_dtype": (["--storage-dtype", "float8_e5m2"], "float8_e5m2"),
    "batch_size": (["--batch-size", 2], 2),
    "cpu_offload": (["--cpu-offload"], True),
    "attention_backend": (["--attention-backend", "native"], "native"),
    "compile": (["--compile"], True),
    "codec": (["--codec", "hevc"], "hevc"),
    "crf": (["--crf", 20], 20.0),
    "pix_fmt": (["--pix-fmt", "yuv444p"], "yuv444p"),
    "encoder_options": (["-e", "preset=slow", "--encoder-option", "x264-params=a=1:b=2"],
                        {"preset": "slow", "x264-params": "a=1:b=2"}),
    "skip_streams": (["--skip-stream", 1, "--skip-stream", 3], (1, 3)),
    "overwrite": (["--overwrite"], True),
}  # fmt: skip


def understood(*words: object) -> UpscaleSettings:
    """The settings that a command gets from these options."""
    got, app = [], typer.Typer()

    @app.command()
    @takes_settings()
    def command(*, settings: UpscaleSettings) -> None:
        got.append(settings)

    result = CliRunner().invoke(app, [*map(str, words)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return got[0]


def test_without_options_there_are_the_defaults():
    assert understood() == UpscaleSettings()


@pytest.mark.parametrize("name", DECLARED)
def test_an_option_sets_its_setting_and_no_other(name):
    words, value = GIVEN[name]
    settings = understood(*words)
    assert settings == UpscaleSettings.of(**{name: value})
    assert settings != UpscaleSettings()


@pytest.mark.parametrize("text", ["preset", "=slow", ""])
def test_an_encoder_option_is_key_and_value(text):
    with pytest.raises(SettingsError, match=f"-e '{text}' is not KEY=VALUE"):
        understood("-e", text)


# --- presets ------------------------------------------------------------------------------------------------


@pytest.fixture
def preset(tmp_path):
    def write(**settings: Any) -> Path:
        save_preset(UpscaleSettings.of(**settings), tmp_path / "my.toml", overwrite=True)
        return tmp_path / "my.toml"

    return write


# In the preset; then on the command line, its default where it has one.
DEFAULTS_GIVEN = {
    "seed": (7, ["--seed", 0], 0),
    "num_inference_steps": (2, ["--steps", 0], 0),
    "branch_scale": (0.5, ["--branch-scale", 1], 1.0),
    "batch_size": (4, ["--batch-size", 1], 1),
    "model": ("owner/model", ["--model", "mini"], "mini"),
    "color_match": (False, ["--color-match"], True),
    "encoder_options": ({"preset": "slow"}, ["-e", "tune=film"], {"tune": "film"}),
}


@pytest.mark.parametrize("name", DEFAULTS_GIVEN)
def test_an_option_wins_over_the_preset_also_at_its_default(preset, name):
    stored, words, value = DEFAULTS_GIVEN[name]
    file = preset(**{name: stored, "dtype": "float32"})
    assert understood("--preset", file) == UpscaleSettings.of(**{name: stored, "dtype": "float32"})
    assert understood("--preset", file, *words) == UpscaleSettings.of(**{name: value, "dtype": "float32"})


def test_scale_and_size_replace_each_other(preset):
    assert understood("--preset", preset(size="4k"), "-s", 2) == UpscaleSettings.of(scale=2.0)
    assert understood("--preset", preset(scale=2), "--size", "4k") == UpscaleSettings.of(size="4k")
    assert understood("--preset", preset(scale=2), "--seed", 1) == UpscaleSettings.of(scale=2, seed=1)
    with pytest.raises(SettingsError, match="not both"):
        understood("--preset", preset(scale=2), "-s", 2, "--size", "4k")


def test_what_is_saved_makes_the_same_settings(tmp_path, preset):
    kept = [name for name in DECLARED if DECLARED[name].metadata["in_presets"] and name != "size"]
    words = [word for name in kept for word in GIVEN[name][0]]
    settings = understood(*words, "--save-preset", tmp_path / "saved.toml")
    assert settings == UpscaleSettings.of(**{name: GIVEN[name][1] for name in kept})
    assert understood("--preset", tmp_path / "saved.toml") == settings


def test_a_saved_preset_holds_those_of_the_preset_it_began_with(tmp_path, preset):
    file = preset(seed=7, crf=20, tile_px=640)
    settings = understood("--preset", file, "--seed", 0, "--save-preset", tmp_path / "saved.toml")
    assert settings == UpscaleSettings.of(crf=20.0, tile_px=640)
    assert load_preset(tmp_path / "saved.toml") == settings


# --- the whole command --------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_video(Path("in.mkv"), count=2, size=(32, 32), audio=True, subtitles=True)
    return tmp_path


def recorded(output: str) -> dict[str, Any]:
    """The settings in the record of a job."""
    return json.loads(Path(f"{output}.job", "manifest.json").read_text())["identity"]["settings"]


def test_a_job_runs_with_the_preset_and_what_wins_over_it(here, model, patchvsr, preset):
    file = preset(seed=7, num_inference_steps=2, scale=2, model=str(model))
    words = ["upscale", "in.mkv", "--preset", file, "-o"]
    assert patchvsr(*words, "preset.mkv").returncode == 0
    assert patchvsr(*words, "given.mkv", "--seed", 0, "--steps", 0).returncode == 0
    found = [(recorded(f)["seed"], recorded(f)["num_inference_steps"]) for f in ("preset.mkv", "given.mkv")]
    assert found == [(7, 2), (0, 0)]


def test_saving_a_preset_does_not_stop_the_job_and_repeats_it(here, model, patchvsr):
    words = ["--model", model, "-s", 2, "--steps", 1, "--seed", 3, "--crf", 30]
    first = patchvsr("upscale", "in.mkv", "-o", "a.mkv", *words, "--save-preset", "my.toml")
    assert first.returncode == 0, first.stderr
    assert load_preset("my.toml") == UpscaleSettings.of(
        model=str(model), scale=2.0, num_inference_steps=1, seed=3, crf=30.0
    )
    assert patchvsr("upscale", "in.mkv", "-o", "b.mkv", "--preset", "my.toml").returncode == 0
    assert recorded("a.mkv") == recorded("b.mkv")
    assert Path("a.mkv").read_bytes() == Path("b.mkv").read_bytes()


def test_an_existing_preset_is_kept_unless_overwritten(here, model, patchvsr):
    Path("my.toml").write_text("precious")
    words = ["upscale", "in.mkv", "-o", "out.mkv", "--model", model, "-s", 2, "--steps", 0, "--save-preset", "my.toml"]
    refused = patchvsr(*words)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == ["patchvsr: my.toml: already exists; use --overwrite or another name"]
    assert Path("my.toml").read_text() == "precious"
    assert not Path("out.mkv").exists() and not Path("out.mkv.job").exists()
    assert patchvsr(*words, "--overwrite").returncode == 0
    assert load_preset("my.toml").restore.scale == 2
    assert load_preset("my.toml").encode.overwrite is False


BAD_PRESETS = {
    "missing": (None, "cannot be read as a preset"),
    "unknown setting": ("[restore]\nsteps = 2", "unknown setting 'steps'"),
    "out of range": ("[restore]\nnum_inference_steps = -2", "num_inference_steps is -2"),
}


@pytest.mark.parametrize("command", [["upscale", "in.mkv", "-o", "out.mkv"], ["preview", "in.mkv"]], ids=lambda c: c[0])
@pytest.mark.parametrize("name", BAD_PRESETS)
def test_a_bad_preset_is_one_clear_line(here, patchvsr, command, name):
    text, message = BAD_PRESETS[name]
    if text is not None:
        Path("my.toml").write_text(text)
    done = patchvsr(*command, "--preset", "my.toml")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("patchvsr: my.toml: ") and message in line
    assert not Path("out.mkv.job").exists()


def test_repeated_options_reach_the_output(here, model, patchvsr):
    words = ["upscale", "in.mkv", "-o", "out.mkv", "--model", model, "-s", 2, "--steps", 0]
    done = patchvsr(*words, "-e", "preset=ultrafast", "--encoder-option", "g=1", "--skip-stream", 1, "--skip-stream", 2)
    assert done.returncode == 0, done.stderr
    assert {"preset": "ultrafast", "g": "1"}.items() <= recorded("out.mkv")["output"]["options"].items()
    with av.open("out.mkv") as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_a_preview_takes_a_preset_of_an_upscale(here, model, patchvsr, preset):
    file = preset(model=str(model), scale=2, num_inference_steps=0, codec="hevc", crf=30, start_s=0.04)
    done = patchvsr("preview", "in.mkv", "-o", "look.png", "--preset", file, "--at", 0)
    assert done.returncode == 0, done.stderr
    assert "the frame at 0.00 seconds" in done.stderr  # its own choice, whatever range the preset has
    with av.open("look.png") as picture:
        assert (picture.streams.video[0].width, picture.streams.video[0].height) == (64 + LINE_PX + 64, 64)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "--workers is for a cluster: give --ray as well"),
        (["--no-shared-storage"], "--shared-storage is for a cluster: give --ray as well"),
        (["--ray", "somewhere"], "address 'somewhere' of a cluster: give auto, local or ray://HOST:10001"),
        (["--ray", "local", "--plan"], "--plan estimates the work on this machine: give it without --ray"),
        (["--ray", "local", "--workers", "0"], "workers is 0: it must be at least 1"),
    ],
)
def test_options_of_a_cluster_that_cannot_be_are_refused(patchvsr, words, said):
    done = patchvsr("upscale", "in.mkv", "-o", "out.mkv", *words)
    assert (done.returncode, done.stderr) == (2, f"patchvsr: {said}\n")

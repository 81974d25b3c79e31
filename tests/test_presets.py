"""Presets: what is saved comes back, and what is no preset is refused in one line that names file and setting."""

import tomllib

import pytest

from patchvsr.errors import OutputError, SettingsError
from patchvsr.presets import load_preset, save_preset
from patchvsr.settings import UpscaleSettings

SETTINGS = {
    "nothing": dict(),
    "one of each group": dict(start_s=0.5, num_inference_steps=0, codec="hevc"),
    "of every type": dict(
        rate="24000/1001",
        size="4k",
        allow_smaller=True,
        seed=2**40,
        restoration=0.25,
        color_match=False,
        noise_timestep=150.0,
        crf=18.5,
        encoder_options={"preset": "slow", "x264-params": 'a="b":c=\\d'},
    ),
    "not on the command line": dict(tile_px=640, overlap_frames=5, unit_frames=100),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_saved_comes_back(tmp_path, name):
    settings = UpscaleSettings.of(**SETTINGS[name])
    save_preset(settings, tmp_path / "my.toml")
    assert load_preset(tmp_path / "my.toml") == settings
    assert [file.name for file in tmp_path.iterdir()] == ["my.toml"]


def test_only_what_differs_from_the_defaults_is_written(tmp_path):
    settings = UpscaleSettings.of(scale=2.0, seed=0, branch_scale=1.0, num_inference_steps=0, crf=None)
    save_preset(settings, tmp_path / "my.toml")
    assert tomllib.loads((tmp_path / "my.toml").read_text()) == {"restore": {"scale": 2.0, "num_inference_steps": 0}}


def test_what_belongs_to_one_file_or_machine_is_not_saved(tmp_path):
    settings = UpscaleSettings.of(overwrite=True, device="cpu", skip_streams=(1, 2), seed=5)
    save_preset(settings, tmp_path / "my.toml")
    assert load_preset(tmp_path / "my.toml") == UpscaleSettings.of(seed=5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", dict()),
        ("[read]\nstart_s = 2\n[restore]\nscale = 2\nnoise_timestep = 200\n[encode]\ncrf = 20",
         dict(start_s=2.0, scale=2.0, noise_timestep=200.0, crf=20.0)),
        ("[restore]\ndevice = 'cpu'\n[encode]\nskip_streams = [1, 2]", dict(device="cpu", skip_streams=(1, 2))),
        ("[encode]\nencoder_options = {preset = 'slow'}", dict(encoder_options={"preset": "slow"})),
        ("[encode.encoder_options]\npreset = 'slow'", dict(encoder_options={"preset": "slow"})),
    ],
    ids=["empty", "whole numbers for floats", "what is never saved", "inline table", "table"],
)  # fmt: skip
def test_written_by_hand(tmp_path, text, expected):
    (tmp_path / "my.toml").write_text(text)
    loaded, expected = load_preset(tmp_path / "my.toml"), UpscaleSettings.of(**expected)
    assert loaded == expected
    assert repr(loaded) == repr(expected)  # 2 == 2.0, but a job records them apart


BAD = {
    "unknown table": ("[decode]\ncrf = 1", r"unknown table \[decode\]: give \[read\], \[restore\], \[encode\]"),
    "no table": ("scale = 2", r"unknown table \[scale\]"),
    "no table of that name": ("restore = 2", r"unknown table \[restore\]"),
    "unknown setting": ("[restore]\nsteps = 2", "unknown setting 'steps': choose one of scale, size, "),
    "of another group": ("[restore]\ncrf = 20", "unknown setting 'crf'"),
    "text for a number": ("[restore]\nscale = '2'", "scale is '2': a value of type float is needed"),
    "number for text": ("[read]\nrate = 25", "rate is 25: a value of type str is needed"),
    "fraction for a whole number": ("[restore]\nseed = 1.5", "seed is 1.5: a value of type int is needed"),
    "truth for a whole number": ("[restore]\nseed = true", "seed is True: a value of type int is needed"),
    "truth for a number": ("[encode]\ncrf = true", "crf is True: a value of type float is needed"),
    "number for truth": ("[restore]\ncolor_match = 0", "color_match is 0: a value of type bool is needed"),
    "number for a list": ("[encode]\nskip_streams = 1", "skip_streams is 1: a value of type list is needed"),
    "text in a list": ("[encode]\nskip_streams = [1, '2']", r"skip_streams\[1\] is '2': a value of type int is needed"),
    "text for a table": ("[encode]\nencoder_options = 'a=b'", "encoder_options is 'a=b': a value of type table"),
    "number in a table": ("[encode.encoder_options]\nbf = 2", "encoder_options.bf is 2: a value of type str is needed"),
    "out of range": ("[restore]\nbatch_size = 0", "batch_size is 0: it must be at least 1"),
    "out of a range of floats": ("[restore]\nrestoration = 2", "restoration is 2: it must lie between 0 and 1"),
    "not a number": ("[read]\nstart_s = nan", "start is nan"),
    "two that exclude each other": ("[restore]\nscale = 2\nsize = '4k'", "give scale or size, not both"),
    "unknown choice": ("[read]\ndeinterlace = 'bob'", "deinterlace 'bob' is unknown"),
    "not TOML": ("[restore\nscale = 2", "cannot be read as a preset"),
    "twice": ("[restore]\nseed = 1\nseed = 2", "cannot be read as a preset"),
    "not text": (b"\xff\xfe\x00", "cannot be read as a preset"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_preset_is_refused_in_one_line(tmp_path, name):
    text, message = BAD[name]
    file = tmp_path / "my.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=message) as caught:
        load_preset(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(SettingsError, match="cannot be read as a preset") as caught:
        load_preset(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_an_existing_file_is_left_alone_unless_overwritten(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("precious")
    with pytest.raises(OutputError, match=r"my\.toml: already exists"):
        save_preset(UpscaleSettings.of(seed=1), file)
    assert file.read_text() == "precious"
    save_preset(UpscaleSettings.of(seed=1), file, overwrite=True)
    assert load_preset(file).restore.seed == 1


def test_a_folder_that_is_missing_is_one_clear_line(tmp_path):
    with pytest.raises(OutputError, match=r"my\.toml: cannot be written"):
        save_preset(UpscaleSettings(), tmp_path / "no" / "my.toml")


def test_a_preset_by_name(tmp_path, monkeypatch):
    """A name goes before a file of that name, which `./` still reaches."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").write_text("[restore]\nseed = 7")
    assert load_preset("fast") == UpscaleSettings.of(model="fast")
    assert load_preset("./fast") == UpscaleSettings.of(seed=7)
    with pytest.raises(SettingsError, match="unknown preset 'quick': give fast, or a file"):
        load_preset("quick")

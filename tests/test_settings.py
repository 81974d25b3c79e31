"""Settings: what each group refuses before any work, and how they become those of a model and of a job."""

from collections import Counter
from dataclasses import fields
from fractions import Fraction

import pytest

from patchvsr.errors import SettingsError
from patchvsr.media.settings import EncodeSettings, ReadSettings
from patchvsr.pixels.size import Size
from patchvsr.settings import (
    MODEL_DEFAULTS,
    ResolvedSettings,
    RestoreSettings,
    UpscaleSettings,
    setting_groups,
    shaping,
)

NAN, INF = float("nan"), float("inf")

# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(scale=0), "scale is 0"),
        (dict(scale=-2), "scale is -2"),
        (dict(scale=NAN), "scale is nan"),
        (dict(scale=2, size="4k"), "not both"),
        (dict(size="huge"), "'huge' is not understood"),
        (dict(num_inference_steps=-1), "num_inference_steps is -1"),
        (dict(joint_mode="average"), "joint mode 'average'.*auxiliary, overlap, shifted, independent"),
        (dict(dtype="int8"), "dtype 'int8'.*float32, bfloat16, float16"),
        (dict(noise_timestep=1001), "noise_timestep is 1001"),
        (dict(noise_timestep=-1), "noise_timestep is -1"),
        (dict(noise_timestep=NAN), "noise_timestep is nan"),
        (dict(restoration=1.1), "restoration is 1.1"),
        (dict(restoration=-0.1), "restoration is -0.1"),
        (dict(restoration=NAN), "restoration is nan"),
        (dict(branch_scale=NAN), "branch_scale is nan"),
        (dict(detail=-0.1), "detail is -0.1: it must lie between 0 and 2"),
        (dict(detail=NAN), "detail is nan"),
        (dict(strength=0.0), "strength is 0: it must lie above 0"),
        (dict(strength=1.5), "strength is 1.5: it must lie above 0 and not above 1"),
        (dict(branch_scale=INF), "branch_scale is inf"),
        (dict(chunk_frames=16), "chunk_frames is 16"),
        (dict(chunk_frames=-3), "chunk_frames is -3"),
        (dict(overlap_frames=2), "overlap_frames is 2"),
        (dict(overlap_frames=0), "overlap_frames is 0"),
        (dict(overlap_frames=17), "less than chunk_frames"),
        (dict(chunk_frames=5, overlap_frames=5), "less than chunk_frames"),
        (dict(batch_size=0), "batch_size is 0"),
        (dict(tile_px=15), "tile_px is 15"),
        (dict(unit_frames=0), "unit_frames is 0"),
    ],
)
def test_restore_settings_out_of_range(settings, message):
    for build in (RestoreSettings, UpscaleSettings.of):
        with pytest.raises(SettingsError, match=message):
            build(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(start_s=-0.1), "start -0.1 s is before the video"),
        (dict(start_s=NAN), "start is nan"),
        (dict(start_s=INF), "start is inf"),
        (dict(start_s=1e300), "start is 1e"),
        (dict(end_s=0), "end 0 s is not after start 0 s"),
        (dict(end_s=-1), "end -1 s is not after start 0 s"),
        (dict(end_s=NAN), "end is nan"),
        (dict(end_s=INF), "end is inf"),
        (dict(start_s=2, end_s=2), "end 2 s is not after start 2 s"),
        (dict(deinterlace="bob"), "deinterlace 'bob' is unknown; choose from frame, field, off"),
        *((dict(rate=rate), f"rate '{rate}' is not understood") for rate in ("0", "-25", "fast", "24/0", "nan", "")),
    ],
)
def test_read_settings_out_of_range(settings, message):
    with pytest.raises(SettingsError, match=message):
        ReadSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(crf=NAN), "crf is nan"),
        (dict(crf=INF), "crf is inf"),
        (dict(skip_streams=(2, -1)), "stream -1"),
    ],
)
def test_encode_settings_out_of_range(settings, message):
    with pytest.raises(SettingsError, match=message):
        EncodeSettings(**settings)


def test_the_ends_of_the_ranges_are_allowed():
    for value in (0, 1):
        assert RestoreSettings(restoration=value).restoration == value
    for value in (0, 1000):
        assert RestoreSettings(noise_timestep=value).noise_timestep == value
    assert RestoreSettings(num_inference_steps=0, chunk_frames=5, overlap_frames=1, tile_px=16).tile_px == 16
    assert ReadSettings(start_s=0, end_s=0.04).end_s == 0.04


@pytest.mark.parametrize(
    ("rate", "exact"),
    [("25", 25), ("23.976", Fraction(2997, 125)), ("24000/1001", Fraction(24000, 1001)), (None, None)],
)
def test_a_rate_is_exact(rate, exact):
    assert ReadSettings(rate=rate).frame_rate == exact


def test_the_output_size_is_the_one_asked_for():
    assert RestoreSettings().output_size(Size(32, 18)) == (128, 72)
    assert RestoreSettings(size="720p").output_size(Size(32, 18)) == (1280, 720)
    smaller = dict(scale=0.5)
    assert RestoreSettings(**smaller, allow_smaller=True).output_size(Size(32, 18)) == (16, 9)
    with pytest.raises(SettingsError, match="smaller than the input"):
        RestoreSettings(**smaller).output_size(Size(32, 18))


# --- groups -------------------------------------------------------------------------------------------------


def test_names_are_unique_across_the_groups():
    names = Counter(field.name for group in setting_groups().values() for field in fields(group))
    assert names.most_common(1)[0][1] == 1


def test_groups_are_those_of_the_settings():
    assert {name: type(getattr(UpscaleSettings(), name)) for name in setting_groups()} == setting_groups()


def test_each_name_goes_into_its_group():
    settings = UpscaleSettings.of(start_s=1.5, scale=2, num_inference_steps=3, codec="hevc", skip_streams=(1,))
    assert settings == UpscaleSettings(
        ReadSettings(start_s=1.5),
        RestoreSettings(scale=2, num_inference_steps=3),
        EncodeSettings(codec="hevc", skip_streams=(1,)),
    )


def test_what_is_not_replaced_stays():
    before = UpscaleSettings.of(start_s=1, end_s=5, seed=3, codec="hevc")
    assert before.replaced(end_s=2, seed=0) == UpscaleSettings.of(start_s=1, end_s=2, seed=0, codec="hevc")
    assert before.replaced() == before
    assert before.restore.seed == 3


def test_a_replaced_value_is_checked_beside_those_that_stay():
    with pytest.raises(SettingsError, match="end 1 s is not after start 1 s"):
        UpscaleSettings.of(start_s=1).replaced(end_s=1)


@pytest.mark.parametrize("name", ["steps", "restore", "Scale"])
def test_unknown_names_are_refused(name):
    for replaced in (UpscaleSettings.of, UpscaleSettings().replaced):
        with pytest.raises(SettingsError, match=f"unknown setting '{name}'"):
            replaced(scale=2, **{name: 1})


# --- a model's defaults -------------------------------------------------------------------------------------

DEFAULTS = {"num_inference_steps": 4, "joint_mode": "overlap", "noise_timestep": 150.0, "detail": 0.5, "strength": 0.5}
CONFIG = DEFAULTS | {"patch_px": 64, "seed": 9}


def test_exactly_the_models_defaults_are_filled_in():
    settings = RestoreSettings(seed=3, size="720p", chunk_frames=9)
    resolved = settings.resolved(CONFIG)
    assert type(resolved) is ResolvedSettings
    filled = {name: CONFIG[name] for name in MODEL_DEFAULTS}
    expected = {field.name: getattr(settings, field.name) for field in fields(settings)} | filled
    assert {field.name: getattr(resolved, field.name) for field in fields(resolved)} == expected
    assert None not in filled.values()


@pytest.mark.parametrize(
    "given",
    [dict(num_inference_steps=0), dict(joint_mode="shifted"), dict(noise_timestep=0.0), dict(detail=0.0)],
    ids=lambda given: next(iter(given)),
)
def test_what_is_given_is_not_replaced_by_the_models_default(given):
    resolved = RestoreSettings(**given).resolved(CONFIG)
    expected = {name: CONFIG[name] for name in MODEL_DEFAULTS} | given
    assert {name: getattr(resolved, name) for name in MODEL_DEFAULTS} == expected


def test_resolved_settings_stay_as_they_are():
    resolved = RestoreSettings(num_inference_steps=0).resolved(CONFIG)
    assert resolved.resolved(CONFIG | {"joint_mode": "shifted"}) == resolved


def test_a_models_default_is_checked_like_a_setting():
    with pytest.raises(SettingsError, match="joint mode 'blend'"):
        RestoreSettings().resolved(CONFIG | {"joint_mode": "blend"})


# --- what a job records -------------------------------------------------------------------------------------

# A new setting belongs into one of the two. Those that shape nothing: sizes, model, dtype as loaded and encoder are
# recorded as what they come to.
SHAPING = {
    "read": {"start_s", "end_s", "deinterlace", "rate"},
    "restore": {
        "num_inference_steps", "joint_mode", "seed", "restoration", "noise_timestep", "branch_scale", "detail",
        "strength", "color_match", "chunk_frames", "dtype", "overlap_frames", "unit_frames", "independent_units",
        "scheduler", "storage_dtype", "attention_backend", "compile",
    },
    "encode": set(),
}  # fmt: skip
NOT_SHAPING = {
    "read": set(),
    "restore": {
        "scale",
        "size",
        "allow_smaller",
        "model",
        "base",
        "check",
        "device",
        "batch_size",
        "tile_px",
        "cpu_offload",
    },
    "encode": {"codec", "crf", "pix_fmt", "encoder_options", "skip_streams", "overwrite"},
}


@pytest.mark.parametrize("group", SHAPING)
def test_every_setting_shapes_the_output_or_does_not(group):
    assert {field.name for field in fields(setting_groups()[group])} == SHAPING[group] | NOT_SHAPING[group]
    assert shaping(getattr(UpscaleSettings(), group)).keys() == SHAPING[group]


def test_a_job_records_values_and_not_defaults():
    resolved = RestoreSettings(seed=7, batch_size=2).resolved(CONFIG)
    recorded = shaping(resolved)
    assert recorded.keys() == SHAPING["restore"]
    assert (recorded["seed"], recorded["num_inference_steps"], recorded["joint_mode"]) == (7, 4, "overlap")

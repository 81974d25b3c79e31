"""The light decoder of an open base: it learns, later stages stand on it, and an adapter carries it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import toy_wan
from safetensors.torch import load_file
from test_open_bases import recipe
from torch import Tensor
from toy_training import assert_changed

from patchvsr.errors import SettingsError
from patchvsr.models.folder import missing_files
from patchvsr.models.geometry import Geometry
from patchvsr.models.wan_base import prompt
from patchvsr.models.wan_base.autoencoder import WanAutoencoder
from patchvsr.models.wan_base.light_autoencoder import LightAutoencoder
from patchvsr.models.wan_base.light_decoder import LightDecoder
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.training import build
from patchvsr.training.build import build_stage, trained_modules
from patchvsr.training.checkpoint import checkpoints, trained_parameters
from patchvsr.training.clips import ClipSource
from patchvsr.training.export import export, write_model
from patchvsr.training.light_decoder import LightDecoderStage
from patchvsr.training.recipes import Recipe
from patchvsr.training.run import run_recipe
from patchvsr.training.samples import Samples
from patchvsr.training.stages import Stage
from patchvsr.training.trainer import TrainEvent, train

STAGES = ("autoencoder", "adapter", "distill")
TRAINED = {
    "autoencoder": ("autoencoder.decoder.restorer.", "autoencoder.decoder.detail."),
    "adapter": ("transformer.",),
    "distill": ("transformer.", "autoencoder.decoder.detail."),
}


@pytest.fixture(autouse=True, scope="module")
def toy_size() -> Iterator[None]:
    def new_light_decoder(geometry: Geometry) -> LightDecoder:
        (flavour,) = (name for name, cell_px in toy_wan.CELL_PX.items() if cell_px == geometry.spatial_factor)
        return toy_wan.light_decoder(flavour)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "new_light_decoder", new_light_decoder)
        patch.setattr(prompt, "PROMPT_LENGTH", 6)
        yield


@pytest.fixture(scope="module", params=toy_wan.FLAVOURS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return toy_wan.save_text_encoder(toy_wan.save_base(folder, request.param))


def run(chosen: Recipe, stage: Stage, source: ClipSource, minutes: float | None = None) -> list[TrainEvent]:
    samples = Samples(stage.make_sample, source, chosen)
    return [e for e in train(chosen, stage, samples, data_digest=source.digest, minutes=minutes)]  # type: ignore[misc]


@pytest.fixture(scope="module")
def runs(base: Path, source: ClipSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The folder of a whole training, and for each stage its weights before, the stage afterwards, and its events."""
    output = tmp_path_factory.mktemp("light")
    result: dict[str, Any] = {"output": output}
    for name in STAGES:
        chosen = recipe(base, source, output, name)
        stage = build_stage(chosen)
        before = {key: value.clone() for key, value in stage.state_dict().items()}
        result[name] = before, stage, run(chosen, stage, source)
    return result


@pytest.mark.parametrize("name", STAGES)
def test_changes_what_it_trains_and_nothing_else(runs: dict[str, Any], name: str) -> None:
    before, stage, _ = runs[name]
    assert_changed(stage, before, TRAINED[name])
    assert {parameter.dtype for parameter in trained_parameters(stage).values()} == {torch.float32}


def test_each_stage_stands_on_the_one_before(runs: dict[str, Any]) -> None:
    decoder = runs["autoencoder"][1].autoencoder.decoder.state_dict()
    for name, same in (("adapter", ("restorer.", "detail.")), ("distill", ("restorer.",))):
        found = runs[name][1].autoencoder.decoder.state_dict()
        assert all(torch.equal(found[key], value) for key, value in decoder.items() if key.startswith(same))


def test_losses(runs: dict[str, Any]) -> None:
    assert runs["autoencoder"][2][-1].losses.keys() == {"pixel", "spectral", "restored", "estimate"}
    assert runs["distill"][2][-1].losses.keys() == {"pixel", "spectral", "velocity"}


@pytest.mark.parametrize("name", STAGES)
def test_resumed_equals_uninterrupted(
    runs: dict[str, Any], base: Path, name: str, source: ClipSource, tmp_path: Path
) -> None:
    for done in STAGES[: STAGES.index(name)]:
        (tmp_path / f"toy_{done}").symlink_to(runs["output"] / f"toy_{done}")
    chosen = recipe(base, source, tmp_path, name)
    run(chosen, build_stage(chosen), source, minutes=0)
    assert [folder.name for folder in checkpoints(chosen.run)] == ["step-000001"]
    stage = build_stage(chosen)
    assert [event.step for event in run(chosen, stage, source)] == [2, 3]
    wanted = runs[name][1].state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in stage.state_dict().items())


def test_validation_shows_both_paths(runs: dict[str, Any]) -> None:
    hq = toy.video(5, 64, 64)
    restored = runs["autoencoder"][1].restore(hq[..., ::4, ::4], hq)
    assert restored.keys() == {"no latents", "true latents"}
    assert all(clip.shape == hq.shape for clip in restored.values())
    assert not torch.equal(*restored.values())


@pytest.fixture(scope="module")
def model(runs: dict[str, Any], base: Path, source: ClipSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    export(recipe(base, source, runs["output"], "distill"), folder, num_inference_steps=1)
    return folder


def test_an_export_holds_the_light_decoder_and_nothing_of_the_base(runs: dict[str, Any], model: Path) -> None:
    assert {path.name for path in model.iterdir() if path.is_dir()} == {"decoder"}
    trained = runs["distill"][1].autoencoder.decoder.state_dict()
    (file,) = (model / "decoder").glob("*.safetensors")
    stored = load_file(file)
    assert stored.keys() == trained.keys()
    assert all(torch.equal(value, trained[name].bfloat16()) for name, value in stored.items())
    assert "A light decoder, which starts from the input" in (model / "README.md").read_text()


def test_an_export_upscales(model: Path) -> None:
    pipeline = PatchVSRPipeline.from_pretrained(model, dtype=torch.bfloat16)
    assert isinstance(pipeline.vae, LightAutoencoder)
    pipeline.set_progress_bar_config(disable=True)
    lq = toy.video(5, 16, 24)
    faithful, detailed = (pipeline(lq, scale=4, num_inference_steps=steps) for steps in (0, 1))
    for output in (faithful, detailed):
        assert output.frames.shape == (5, 3, 64, 96) and output.frames.isfinite().all()
        assert 0 <= output.restoration <= 1
    assert not torch.equal(faithful.frames, detailed.frames)


def test_the_decoder_comes_back_bit_for_bit(
    runs: dict[str, Any], base: Path, source: ClipSource, tmp_path: Path
) -> None:
    chosen = recipe(base, source, runs["output"], "distill")
    autoencoder, transformer = trained_modules(chosen)
    provenance = {"patchvsr": "0", "data_sha256": "0", "stages": {}, "validation": None}
    sizes = {"patch_px": 64, "patch_frames": 5}
    write_model(transformer, autoencoder, tmp_path / "model", base=str(base), provenance=provenance, **sizes)
    loaded = PatchVSRPipeline.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    saved = PatchVSRPipeline(loaded.transformer, autoencoder, loaded.scheduler, **sizes)
    for pipeline in (saved, loaded):
        pipeline.set_progress_bar_config(disable=True)
    lq = toy.video(5, 16, 24)
    assert torch.equal(saved(lq).frames, loaded(lq).frames)


def test_a_missing_file_of_the_decoder_is_named(model: Path) -> None:
    assert missing_files(model) == []
    for file, named in (("config.json", "decoder/config.json"), ("*.safetensors", "decoder/*.safetensors")):
        (path,) = (model / "decoder").glob(file)
        path.rename(model.parent / path.name)
        assert missing_files(model) == [named]
        (model.parent / path.name).rename(path)


def test_with_a_base_trained_further_it_is_exported_whole(
    runs: dict[str, Any], base: Path, source: ClipSource, tmp_path: Path
) -> None:
    (tmp_path / "toy_autoencoder").symlink_to(runs["output"] / "toy_autoencoder")
    for stage in ("base", "adapter"):
        list(run_recipe(recipe(base, source, tmp_path, stage)))
    export(recipe(base, source, tmp_path), tmp_path / "model", num_inference_steps=1)
    loaded = PatchVSRPipeline.from_pretrained(tmp_path / "model", dtype=torch.bfloat16).vae
    assert isinstance(loaded, LightAutoencoder)
    decoder = runs["autoencoder"][1].autoencoder.decoder.state_dict()
    assert all(torch.equal(value, decoder[name].bfloat16()) for name, value in loaded.decoder.state_dict().items())


def test_a_light_decoder_alone_is_no_model(
    runs: dict[str, Any], base: Path, source: ClipSource, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="toy_autoencoder makes no whole model"):
        export(recipe(base, source, runs["output"], "autoencoder"), tmp_path / "model")


def test_there_is_no_restorer_stage(base: Path, source: ClipSource, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no stage restorer: its stage autoencoder trains one"):
        build_stage(recipe(base, source, tmp_path, "restorer"))


def squares(count: int, *cells: int, seed: int) -> dict[str, Tensor]:
    """A batch of still, dark and bright squares: the canvas shows those on the left, blurred, and on the right grey."""
    bright = torch.rand((count, 1, 2, 2), generator=toy.seeded(seed)).round()
    hq = bright.repeat_interleave(16, -1).repeat_interleave(16, -2)
    canvas = resize_bicubic(bright, Size(32, 32))
    canvas[..., 16:] = 0.5
    hq, canvas = (1.6 * picture - 0.8 for picture in (hq, canvas))
    hq, canvas = (picture.unsqueeze(2).expand(-1, 3, 5, -1, -1) for picture in (hq, canvas))
    return {
        "hq": hq, "canvas": canvas, "noise": toy.randn(count, toy_wan.LATENT_CHANNELS, *cells, seed=seed),
        "restoration": torch.zeros(count), "scale": torch.full((count,), 8.0), "told": torch.ones(count) > 0,
    }  # fmt: skip


@torch.no_grad()
def fit_statistics(encoder: WanAutoencoder, video: Tensor) -> None:
    """Give latents zero mean and unit deviation, as those of a real base have; the toy one's drown in noise."""
    latents, old = encoder.encode(video), encoder.config
    mean, std = latents.mean(dim=(0, 2, 3, 4)), latents.std(dim=(0, 2, 3, 4))
    old_mean, old_std = torch.tensor(old.latents_mean), torch.tensor(old.latents_std)
    encoder.register_to_config(latents_mean=(old_mean + old_std * mean).tolist(), latents_std=(old_std * std).tolist())


def test_it_learns_what_the_canvas_shows_and_what_only_latents_tell() -> None:
    chosen = Recipe(stage="autoencoder", name="toy_autoencoder", base="toy", spectral_weight=0.0)
    autoencoder = LightAutoencoder.of(toy_wan.autoencoder(), toy_wan.light_decoder())
    stage, cells = LightDecoderStage(chosen, autoencoder), autoencoder.geometry.latent_shape(5, 32, 32)
    unseen = squares(8, *cells, seed=10_000)
    fit_statistics(autoencoder.encoder, unseen["hq"])
    with torch.no_grad():
        before = stage(unseen)
    optimizer = torch.optim.Adam(trained_parameters(stage).values(), lr=3e-3)
    for step in range(100):
        optimizer.zero_grad()
        torch.stack(list(stage(squares(2, *cells, seed=step)).values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        after = stage(unseen)
    assert before["pixel"] == before["restored"]  # of the canvas
    assert after["restored"] < 0.9 * before["restored"]
    assert after["pixel"] < 0.5 * before["pixel"] and after["pixel"] < 0.7 * after["restored"]
    assert after["estimate"] < 0.5 * before["estimate"]

"""The models in the box: their size, where they came from, and that they are worth using."""

import json

import pytest
import torch
from skimage import data

from patchvsr.degradation.degrade import BICUBIC, REALBASICVSR, degrade
from patchvsr.degradation.lq_file import bicubic_enlarge, bicubic_reduce
from patchvsr.evaluation.synthetic import camera_move, load_photo
from patchvsr.measures.fidelity import PsnrMeter
from patchvsr.measures.meter import measure_clip
from patchvsr.models.geometry import cells_of
from patchvsr.models.registry import bundled_models
from patchvsr.models.tiles import TiledDecoder
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size

TRAINED = {
    "mini": {"mini_restorer", "fast_restorer", "mini_autoencoder", "mini_base", "mini_adapter", "mini_distill"},
    "fast": {"mini_restorer", "fast_restorer"},
}
LARGEST_MIB = {"mini": 32, "fast": 3}
MIB = 2**20
KNOWN = {"restoration": 0.5, "scale": 4.0}


@pytest.fixture(scope="module", params=TRAINED)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def pipeline(name):
    pipe = PatchVSRPipeline.from_pretrained(name, dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_these_are_all():
    assert TRAINED.keys() == bundled_models().keys()


def test_weights_fit_in_the_package(name):
    files = [file for file in bundled_models()[name].rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= LARGEST_MIB[name] * MIB
    assert max(file.stat().st_size for file in files) <= 16 * MIB
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".md"}


def test_provenance_says_how_the_weights_were_made(name):
    """Back to the model that started from nothing."""
    provenance = json.loads((bundled_models()[name] / "provenance.json").read_text())
    assert provenance["validation"]["bicubic"]["psnr_y"] > 0
    stages = set()
    while True:
        assert len(provenance["data_sha256"]) == 64
        stages |= provenance["stages"].keys()
        for stage in provenance["stages"].values():
            assert stage["steps"] > 0
            assert stage["minutes"] > 0
        if "went_on_from" not in provenance:
            break
        provenance = provenance["went_on_from"]
    assert stages == TRAINED[name]


def test_every_weight_is_loaded_and_finite(pipeline):
    for module in filter(None, (pipeline.transformer, pipeline.vae)):
        for name, parameter in module.named_parameters():
            assert parameter.device.type != "meta", name
            assert torch.isfinite(parameter).all(), name


@pytest.mark.parametrize("steps", [0, 1])
def test_better_than_bicubic(pipeline, steps):
    """On a photo that it was not trained on, by a margin that a broken decoder cannot reach."""
    if steps and pipeline.transformer is None:
        pytest.skip("takes no steps")
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    lq = bicubic_reduce(photo, 4)
    scores = []
    for restored in (bicubic_enlarge(lq, 4), pipeline(lq, num_inference_steps=steps).frames):
        scores.append(measure_clip([PsnrMeter()], restored, photo)["psnr_y"])
    assert scores[1] > scores[0] + 0.5


@pytest.mark.slow
def test_tells_clean_from_degraded_and_treats_each_better_than_the_other_way(pipeline):
    clip = torch.stack(list(camera_move(load_photo("astronaut"), Size(352, 256), 5)))
    for settings, low, high, wrong in ((BICUBIC, 0.0, 0.2, 1.0), (REALBASICVSR, 0.8, 1.0, 0.0)):
        lq = degrade(clip, 4, torch.Generator().manual_seed(3), settings)
        estimated = pipeline(lq, num_inference_steps=0)
        assert low <= estimated.restoration <= high
        scores = []
        mistaken = pipeline(lq, num_inference_steps=0, restoration=wrong)
        for restored in (bicubic_enlarge(lq, 4), mistaken.frames, estimated.frames):
            scores.append(measure_clip([PsnrMeter()], restored, clip)["psnr_y"])
        assert scores[2] > max(scores[:2]) + 0.3


def test_tiles_equal_the_whole(pipeline):
    """With the trained weights in bfloat16, as they are used."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[:, None, :192, :288] / 127.5 - 1
    canvas = photo.expand(-1, 5, -1, -1)
    with torch.no_grad():
        latents = None if pipeline.transformer is None else latents_of(pipeline, canvas)
        whole, tiled = (torch.cat([*decoded(pipeline, latents, canvas, tile_px)], dim=1) for tile_px in (512, 96))
    assert (whole - canvas).abs().max() > 10 / 127.5  # the decoder does work here
    assert (whole - tiled).abs().max() <= 1 / 127.5


def latents_of(pipeline, canvas):
    known = {name: torch.tensor([value]) for name, value in KNOWN.items()}
    return pipeline.vae.encode(canvas[None], reference=canvas[None], **known)[0].float()


def decoded(pipeline, latents, canvas, tile_px):
    decoder = TiledDecoder(pipeline.vae, **KNOWN)
    for number in range(canvas.shape[1]):
        run = range(number, number + 1)
        cells = None if latents is None else latents[:, cells_of(run)]
        yield decoder.decode(cells, canvas[:, run.start : run.stop], tile_px)

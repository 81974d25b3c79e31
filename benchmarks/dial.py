"""Measure the effect of the user's settings: restoration, detail, steps, noise augmentation, branch scale.

patchvsr degrade /path/to/val lq --frames 5
python benchmarks/dial.py --data /path/to/val --set lq
python benchmarks/dial.py --picture docs/images/restoration.png
python benchmarks/dial.py --picture docs/images/detail.png --of detail

Prints a Markdown table of means: PSNR-Y over bicubic, distance in features, sharpness. Needs the extra `eval`.
With --picture, draws crops of a camera move over a photo, clean in the upper row and degraded at strength 0.7 in the
lower: bicubic, the settings of `PICTURES`, original.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from restorer import middle
from torch import Generator, Tensor

from patchvsr.compute import default_dtype
from patchvsr.degradation.degrade import BICUBIC, REALBASICVSR, Degradation, degrade
from patchvsr.degradation.lq_file import cut
from patchvsr.degradation.lq_set import check_lq_set
from patchvsr.errors import PatchVSRError
from patchvsr.evaluation.synthetic import camera_move, load_photo
from patchvsr.measures.features import FeatureMeter
from patchvsr.measures.fidelity import PsnrMeter
from patchvsr.measures.meter import measure_clip
from patchvsr.measures.sharpness import SharpnessMeter
from patchvsr.media.images.files import encode_image
from patchvsr.media.tensors import read_rgb, to_array
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

SETTINGS = {
    "0 steps, restoration estimated": dict(num_inference_steps=0),
    "0 steps, restoration 0": dict(num_inference_steps=0, restoration=0.0),
    "0 steps, restoration 0.5": dict(num_inference_steps=0, restoration=0.5),
    "0 steps, restoration 1": dict(num_inference_steps=0, restoration=1.0),
    "1 step, detail 0.25": dict(num_inference_steps=1, detail=0.25),
    "1 step, detail 0.5": dict(num_inference_steps=1, detail=0.5),
    "1 step, detail 1": dict(num_inference_steps=1, detail=1.0),
    "1 step, detail 1, noise 250": dict(num_inference_steps=1, detail=1.0, noise_timestep=250.0),
    "1 step, detail 1, branch scale 0.5": dict(num_inference_steps=1, detail=1.0, branch_scale=0.5),
    "4 steps, detail 1": dict(num_inference_steps=4, detail=1.0),
}
PICTURES = {
    "restoration": [dict(num_inference_steps=0, restoration=given) for given in (0.0, 0.5, 1.0, None)],
    "detail": [dict(num_inference_steps=1, detail=share) for share in (0.0, 0.5, 1.0)],
}
CLIP_SIZE, CROP = Size(512, 384), (slice(150, 310), slice(150, 350))


def measure(frames: Tensor, original: Tensor) -> list[float]:
    """Return PSNR-Y, the distance in features, and the sharpness."""
    result = measure_clip([PsnrMeter(), FeatureMeter(), SharpnessMeter()], frames, original)
    return [result["psnr_y"], result["features"], result["sharpness"]]


def run(args: argparse.Namespace) -> None:
    """Measure every setting on every clip, and print the means."""
    pipeline = PatchVSRPipeline.from_pretrained(args.model, dtype=default_dtype("cpu"))
    pipeline.set_progress_bar_config(disable=True)
    lq_folder, lq_set = args.set, check_lq_set(args.set, args.data)
    scores: dict[str, list[list[float]]] = {}
    for clip in lq_set.clips:
        lq = torch.stack(list(read_rgb(lq_folder / clip.file)))
        frames = read_rgb(args.data / clip.source, max_frames=clip.lq.frames)
        original = torch.stack([cut(frame, clip.lq.hq_size) for frame in frames])
        scale = round(original.shape[-1] / lq.shape[-1])
        lq, original = middle(lq, args.crop // scale), middle(original, args.crop // scale, scale)
        canvas = resize_bicubic(lq, Size.of(original))
        scores.setdefault("bicubic", []).append(measure(canvas.clamp(0, 1), original))
        for name, settings in SETTINGS.items():
            frames = pipeline(lq, scale=scale, **settings).frames
            scores.setdefault(name, []).append(measure(frames, original))
        print(clip.source, flush=True)
    print("| settings | PSNR-Y over bicubic | feature distance | sharpness |\n|---|---|---|---|")
    means = {name: torch.tensor(rows).mean(dim=0) for name, rows in scores.items()}
    for name, (psnr, features, sharpness) in means.items():
        print(f"| {name} | {psnr - means['bicubic'][0]:+.2f} | {features:.3f} | {sharpness:.2f} |")


def draw(args: argparse.Namespace) -> None:
    """Draw the picture: from left to right bicubic, the settings, the original."""
    pipeline = PatchVSRPipeline.from_pretrained(args.model, dtype=default_dtype("cpu"))
    pipeline.set_progress_bar_config(disable=True)
    kinds = BICUBIC, REALBASICVSR.at(0.7)
    rows = [torch.cat(list(panels(pipeline, kind, PICTURES[args.of])), dim=-1) for kind in kinds]
    args.picture.write_bytes(encode_image(to_array(torch.cat(rows, dim=-2)), args.picture.suffix))


def panels(pipeline: PatchVSRPipeline, degradation: Degradation, choices: list[dict[str, Any]]) -> Iterator[Tensor]:
    """Yield crops (3, h, w) of the last of five frames."""
    original = torch.stack(list(camera_move(load_photo("coffee"), CLIP_SIZE, 5)))
    lq = degrade(original, 4, Generator().manual_seed(1), degradation)
    yield resize_bicubic(lq, CLIP_SIZE)[-1][(..., *CROP)]
    for settings in choices:
        restored = pipeline(lq, **settings)
        print(f"{settings}: restoration {restored.restoration}")
        yield restored.frames[-1][(..., *CROP)]
    yield original[-1][(..., *CROP)]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of original videos")
    parser.add_argument("--set", type=Path, help="low-quality set, made by `patchvsr degrade`")
    parser.add_argument("--model", default="mini", help="bundled name, model folder, or Hub name")
    parser.add_argument("--crop", type=int, default=512, help="side of the middle of the frames, in output pixels")
    parser.add_argument("--picture", type=Path, help="draw this PNG instead")
    parser.add_argument("--of", choices=PICTURES, default="restoration", help="settings of the picture")
    args = parser.parse_args()
    if args.picture is None and (args.data is None or args.set is None):
        parser.error("give --data and --set, or --picture")
    try:
        draw(args) if args.picture else run(args)
    except PatchVSRError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

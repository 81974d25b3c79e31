"""Measure the effect of the user's settings: restoration, steps, noise augmentation, branch scale.

patchvsr degrade /path/to/val lq --frames 5
python benchmarks/dial.py --data /path/to/val --set lq
python benchmarks/dial.py --picture docs/images/restoration.png

Prints a Markdown table: PSNR-Y and SSIM-Y against the original, and
the change of the mean gradient relative to bicubic (sharpness, which includes noise).
With --picture, draws crops of a camera move over a photo, clean in the upper row and degraded at strength 0.7 in the
lower: bicubic, restoration 0, 0.5, 1 and estimated, original.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Generator, Tensor

from patchvsr.degradation.degrade import BICUBIC, REALBASICVSR, Degradation, degrade
from patchvsr.degradation.lq_file import cut
from patchvsr.degradation.lq_set import check_lq_set
from patchvsr.errors import PatchVSRError
from patchvsr.evaluation.synthetic import camera_move, load_photo
from patchvsr.measures.fidelity import PsnrMeter, SsimMeter
from patchvsr.measures.meter import measure_clip
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
    "1 step": dict(num_inference_steps=1),
    "1 step, noise 100": dict(num_inference_steps=1, noise_timestep=100.0),
    "1 step, noise 250": dict(num_inference_steps=1, noise_timestep=250.0),
    "1 step, branch scale 0.5": dict(num_inference_steps=1, branch_scale=0.5),
    "4 steps": dict(num_inference_steps=4),
}
CLIP_SIZE, CROP = Size(512, 384), (slice(150, 310), slice(150, 350))


def measure(frames: Tensor, canvas: Tensor, original: Tensor) -> list[float]:
    """Return PSNR-Y, SSIM-Y, and the change of the mean gradient relative to bicubic in percent."""
    result = measure_clip([PsnrMeter(), SsimMeter()], frames, original)
    sharper = 100 * (gradient(frames) / gradient(canvas) - 1)
    return [result["psnr_y"], result["ssim_y"], sharper]


def gradient(frames: Tensor) -> float:
    """Return the mean absolute difference of neighbouring pixels."""
    return float(frames.diff(dim=-1).abs().mean() + frames.diff(dim=-2).abs().mean())


def run(args: argparse.Namespace) -> None:
    """Measure every setting on every clip, and print the means."""
    pipeline = PatchVSRPipeline.from_pretrained(args.model, dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    lq_folder, lq_set = args.set, check_lq_set(args.set, args.data)
    scores: dict[str, list[list[float]]] = {}
    for clip in lq_set.clips:
        lq = torch.stack(list(read_rgb(lq_folder / clip.file)))
        frames = read_rgb(args.data / clip.source, max_frames=clip.lq.frames)
        original = torch.stack([cut(frame, clip.lq.hq_size) for frame in frames])
        canvas = resize_bicubic(lq, Size(original.shape[-1], original.shape[-2]))
        scores.setdefault("bicubic", []).append(measure(canvas, canvas, original))
        for name, settings in SETTINGS.items():
            frames = pipeline(lq, **settings).frames
            scores.setdefault(name, []).append(measure(frames, canvas, original))
        print(clip.source, flush=True)
    print("| settings | PSNR-Y | SSIM-Y | sharper than bicubic |\n|---|---|---|---|")
    for name, rows in scores.items():
        psnr, ssim, sharper = torch.tensor(rows).mean(dim=0).tolist()
        print(f"| {name} | {psnr:.2f} | {ssim:.4f} | {sharper:+.1f} % |")


def draw(args: argparse.Namespace) -> None:
    """Draw the picture: from left to right bicubic, three settings, the estimate, the original."""
    pipeline = PatchVSRPipeline.from_pretrained(args.model, dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    rows = [torch.cat(list(panels(pipeline, settings)), dim=-1) for settings in (BICUBIC, REALBASICVSR.at(0.7))]
    args.picture.write_bytes(encode_image(to_array(torch.cat(rows, dim=-2)), args.picture.suffix))


def panels(pipeline: PatchVSRPipeline, settings: Degradation) -> Iterator[Tensor]:
    """Yield crops (3, h, w) of the last of five frames."""
    original = torch.stack(list(camera_move(load_photo("coffee"), CLIP_SIZE, 5)))
    lq = degrade(original, 4, Generator().manual_seed(1), settings)
    yield resize_bicubic(lq, CLIP_SIZE)[-1][(..., *CROP)]
    for restoration in (0.0, 0.5, 1.0, None):
        restored = pipeline(lq, num_inference_steps=0, restoration=restoration)
        print(f"restoration {restored.restoration}")
        yield restored.frames[-1][(..., *CROP)]
    yield original[-1][(..., *CROP)]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of original videos")
    parser.add_argument("--set", type=Path, help="low-quality set, made by `patchvsr degrade`")
    parser.add_argument("--model", default="mini", help="bundled name, model folder, or Hub name")
    parser.add_argument("--picture", type=Path, help="draw this PNG instead")
    args = parser.parse_args()
    if args.picture is None and (args.data is None or args.set is None):
        parser.error("give --data and --set, or --picture")
    try:
        draw(args) if args.picture else run(args)
    except PatchVSRError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

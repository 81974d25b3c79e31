"""Fit the model of good photos that NIQE compares with, and check it on photos that it was not fitted to.

python benchmarks/fit_niqe.py --photos /path/to/photos --check /path/to/other/photos

Writes src/patchvsr/measures/niqe.safetensors, with the number of photos and patches in its header. With --check, prints
the mean score of other photos, as they are, blurred and with noise, which must rise along each line.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sensitivity import gaussian_blur, white_noise
from torch import Tensor

from patchvsr.measures.meter import FrameTriple
from patchvsr.measures.niqe import PRISTINE, SHARP_PART, NiqeMeter, fit, patch_features

FAULTS = {"blur, px": (gaussian_blur, (0.5, 1, 2, 4)), "noise, levels": (white_noise, (2, 5, 10, 20))}


def read_photos(folder: Path) -> Iterator[Tensor]:
    """Yield the photos of a folder, (3, H, W) in [0, 1], by name."""
    for file in sorted(folder.iterdir()):
        yield torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1) / 255


def sharp_features(photo: Tensor) -> Tensor:
    """Return the features of the patches of a photo that are in focus, (P, 36)."""
    features, deviation = patch_features(photo)
    sharp = deviation > SHARP_PART * deviation.max() if len(deviation) else deviation.bool()
    return features[sharp & features.isfinite().all(dim=1)]


def score(frame: Tensor) -> float:
    """Return NIQE of one frame with the model as it is written."""
    return NiqeMeter().update(FrameTriple(frame))["niqe"]


def check(photos: list[Tensor]) -> None:
    """Print mean scores, and for how many photos the worst fault scores worse than none."""
    clean = [score(photo) for photo in photos]
    for name, (spoil, strengths) in FAULTS.items():
        spoilt = [[score(spoil(photo[None], strength)[0].clamp(0, 1)) for photo in photos] for strength in strengths]
        means = ", ".join(f"{strength}: {np.mean(row):.2f}" for strength, row in zip(strengths, spoilt, strict=True))
        told = np.mean(np.array(spoilt[-1]) > np.array(clean))
        print(f"{name}: none: {np.mean(clean):.2f}, {means}; the last is told from none in {told:.0%}")


def main() -> None:
    """Read the command line, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of good photos to fit to")
    parser.add_argument("--check", type=Path, help="folder of other photos")
    parser.add_argument("--max-checked", type=int, default=40, help="number of them, evenly chosen")
    args = parser.parse_args()
    features = [found for photo in read_photos(args.photos) if len(found := sharp_features(photo))]
    used = {"photos": str(len(features)), "patches": str(sum(map(len, features)))}
    save_file(fit(features)._asdict(), PRISTINE, metadata=used)
    PRISTINE.chmod(0o644)  # it is part of the package
    print(f"{PRISTINE}: {used}")
    if args.check:
        others = list(read_photos(args.check))
        check(others[:: -(-len(others) // args.max_checked)])


if __name__ == "__main__":
    main()

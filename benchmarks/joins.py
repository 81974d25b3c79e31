"""Measure the jump at chunk joins for several overlaps: frame difference at a join relative to its neighbours.

python benchmarks/joins.py CLIP --steps 1 --overlaps 1 5 9

1.0 means no jump. CLIP is any low-quality video; bicubic upscaling is measured at the same frames for comparison.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from product import upscale_file

from patchvsr.degradation.lq_file import bicubic_enlarge
from patchvsr.measures.seams import join_jump
from patchvsr.media.tensors import read_rgb

CHUNK = 17


def main() -> None:
    """Print a Markdown table with one row per overlap."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[1, 5, 9])
    args = parser.parse_args()
    bicubic = torch.cat([bicubic_enlarge(frame[None], 4) for frame in read_rgb(args.clip)])
    print("| overlap | bicubic, mean jump | PatchVSR, mean jump | PatchVSR, worst |\n|---|---|---|---|", flush=True)
    for overlap in args.overlaps:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "out.mkv"
            upscale_file(args.clip, target, steps=args.steps, chunk_frames=CHUNK, overlap_frames=overlap)
            restored = torch.stack(list(read_rgb(target)))
        joins = list(range(CHUNK, len(restored), CHUNK - overlap))
        ours, reference = join_jump(restored, joins), join_jump(bicubic, joins)
        mean, base = sum(ours) / len(ours), sum(reference) / len(reference)
        print(f"| {overlap} frames | {base:.3f} | {mean:.3f} | {max(ours):.3f} |", flush=True)


if __name__ == "__main__":
    main()

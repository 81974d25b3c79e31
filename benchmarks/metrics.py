"""Time every metric on frames of one size, and the library that it comes from alone, in one run.

python benchmarks/metrics.py --size 1920x1080 --frames 6

Prints a Markdown table: seconds a frame here, seconds a frame of the library on the same clip, and their ratio. Metrics
of our own have no library. Both are timed in turns, and the shorter of two rounds counts.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from patchvsr.allocator import keep_freed_memory
from patchvsr.measures.cvvdp_import import load_cvvdp
from patchvsr.measures.features import ImageFeatures
from patchvsr.measures.luma import luma
from patchvsr.measures.meter import FrameTriple
from patchvsr.measures.panel import METERS, ClipFacts, Panel

FPS = 24.0
ROUNDS = 2


def synthetic_clip(frames: int, width: int, height: int) -> Tensor:
    """Return a moving texture (F, 3, H, W) in [0, 1] with detail at several sizes."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(1, 3, height + 64, width + 64)
    for part in (1, 4, 16, 64):
        noise = torch.rand(1, 3, picture.shape[-2] // part, picture.shape[-1] // part, generator=generator)
        picture += F.interpolate(noise, picture.shape[-2:], mode="bicubic") / 4
    picture = picture.clamp(0, 1)[0]
    return torch.stack([picture[:, 2 * t : 2 * t + height, 3 * t : 3 * t + width] for t in range(frames)])


def libraries(output: Tensor, original: Tensor) -> dict[str, Callable[[], object]]:
    """Return what the libraries offer for clips (F, 3, H, W), by the name of our metric."""
    from torchmetrics.functional import image
    from vmaf_torch import VMAF

    y, y0 = luma(output, "bt601"), luma(original, "bt601")
    w, w0 = (luma(clip, "bt709").round() for clip in (output, original))
    rgb, rgb0 = 255 * output, 255 * original
    models = [VMAF(clip_score=True), VMAF(clip_score=True, NEG=True)]
    features = ImageFeatures("lite1")
    metric = load_cvvdp().cvvdp(display_name="standard_4k", device=torch.device("cpu"), quiet=True)

    def by_frame(one: Callable[..., object], *clips: Tensor) -> None:
        for frames in zip(*clips, strict=True):
            one(*(frame[None] for frame in frames))

    def ssim() -> None:
        for pair in ((y, y0), (rgb, rgb0)):
            by_frame(lambda a, b: image.structural_similarity_index_measure(a, b, data_range=255.0), *pair)

    return {
        "ssim": ssim,
        "ms-ssim": lambda: by_frame(
            lambda a, b: image.multiscale_structural_similarity_index_measure(a, b, data_range=255.0), y, y0
        ),
        "vif": lambda: by_frame(lambda a, b: image.visual_information_fidelity(a, b), y, y0),
        "vmaf": lambda: [model(w0, w) for model in models],
        "jod": lambda: metric.predict(output, original, dim_order="FCHW", frames_per_second=FPS),
        "features": lambda: by_frame(lambda a, b: (features(a), features(b)), output, original),
    }


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    with torch.no_grad():
        work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--metrics", default=",".join(METERS))
    options = parser.parse_args()
    keep_freed_memory()  # as `patchvsr evaluate` does
    width, height = map(int, options.size.split("x"))
    original = synthetic_clip(options.frames, width, height)
    canvas = F.interpolate(F.interpolate(original, scale_factor=0.25, mode="area"), original.shape[-2:], mode="bicubic")
    output = (0.5 * original + 0.5 * canvas).clamp(0, 1)
    alone = libraries(output, original)

    print(f"| metric | s a frame of {options.size} | its library | ratio |\n|---|---|---|---|")
    clip = ClipFacts(
        FPS, lines=(([height // 2], [width // 2]), ([height // 4], [width // 4])), joins=[options.frames // 2]
    )
    for name in options.metrics.split(","):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            panel = Panel([name], clip, frozenset({"original", "canvas"}))
            if name in panel.missing:
                break
            for index in range(options.frames):
                panel.update(FrameTriple(output[index], original[index], canvas[index].clamp(0, 1)))
            panel.result()
            ours.append(panel.seconds[name] / options.frames)
            if name in alone:
                theirs.append(seconds(alone[name]) / options.frames)
        if not ours:
            print(f"| {name} | {panel.missing[name]} | | |")
            continue
        library = f"{min(theirs):.2f} | {min(ours) / min(theirs):.2f}" if theirs else "|"
        print(f"| {name} | {min(ours):.2f} | {library} |", flush=True)


if __name__ == "__main__":
    main()

"""Validate a stage on fixed clips: the same content and degradation at every step and in every run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from patchvsr.degradation.degrade import PRESETS, degrade, on_8_bits
from patchvsr.degradation.lq_file import bicubic_enlarge
from patchvsr.errors import InputError, SettingsError
from patchvsr.measures.fidelity import PsnrMeter, SsimMeter
from patchvsr.measures.meter import Meter, measure_clip
from patchvsr.measures.seams import seam_score
from patchvsr.measures.vmaf import VmafMeter
from patchvsr.media.images.files import encode_image
from patchvsr.media.lossless import to_array
from patchvsr.models.geometry import is_clip_length
from patchvsr.training.clips import ClipSource
from patchvsr.training.logs import picture_folder
from patchvsr.training.recipes import Recipe
from patchvsr.training.shards import Shard
from patchvsr.training.stages import Stage

DEGRADATIONS = ("bicubic", "realbasicvsr")
SCALE = 4
PANEL_PX = 512
BASELINE = "bicubic enlargement"

Measures = dict[str, float]
Scores = dict[str, Measures]  # by method
Lines = tuple[Sequence[int], Sequence[int]]


@dataclass
class Case:
    """One clip with one degradation.

    shard: location of its frames
    lq: (F, 3, h, w) uint8
    baseline: scores of bicubic upscaling, once computed
    """

    shard: Shard
    degradation: str
    lq: Tensor
    baseline: Measures = field(default_factory=dict)

    @property
    def name(self) -> str:
        return re.sub(r"[^\w.-]", "_", f"{self.shard.source}_{self.degradation}")


class Validator:
    """Measure a stage on one clip of every file of `source`, with each of `degradations`.

    A clip is the first `validation_frames` of the first shot that is long enough, centre-cropped to `validation_side`,
    or, for 0, to the largest multiple of 32. The low-quality clips are made once, here, with seeds derived from file
    and degradation names.

    Raises:
        PatchVSRError: the metrics' packages (extra `eval`) are not installed.
        SettingsError: `validation_frames` is not 4k+1, or `validation_side` is not a multiple of 32.
        InputError: a clip is too short or too small.
    """

    def __init__(self, recipe: Recipe, source: ClipSource, degradations: Sequence[str] = DEGRADATIONS) -> None:
        _meters(recipe)  # raise for missing packages now, not hours later
        if not is_clip_length(recipe.validation_frames) or recipe.validation_side % 32:
            raise SettingsError(
                f"validation_frames={recipe.validation_frames} must be 4k+1, such as 5, "
                f"and validation_side={recipe.validation_side} a multiple of 32, or 0 for whole frames"
            )
        self._recipe, self._source = recipe, source
        names = sorted({shard.source for shard in source.entries})
        self._cases = [self._case(self._shard(name), degradation) for name in names for degradation in degradations]

    def _shard(self, name: str) -> Shard:
        shards = [shard for shard in self._source.entries if shard.source == name]
        count, (height, width) = self._recipe.validation_frames, self._size(shards[0])
        for shard in shards:
            if shard.num_frames >= count and shard.height >= height > 0 and shard.width >= width > 0:
                return shard
        longest = max(shard.num_frames for shard in shards)
        raise InputError(
            f"validation clip {name} is {shards[0].width}x{shards[0].height} with at most {longest} frames a shot, "
            f"too small or short for validation_side={self._recipe.validation_side} and validation_frames={count}: "
            "replace it or lower the settings"
        )

    def _size(self, shard: Shard) -> tuple[int, int]:
        side = self._recipe.validation_side
        return side or shard.height // 32 * 32, side or shard.width // 32 * 32

    def _case(self, shard: Shard, degradation: str) -> Case:
        digest = hashlib.sha256(f"{shard.source} {degradation}".encode()).digest()
        generator = Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        lq = degrade(self._original(shard), SCALE, generator, PRESETS[degradation])
        return Case(shard, degradation, lq.mul(255).round().to(torch.uint8))

    def _original(self, shard: Shard) -> Tensor:
        """Load the crop of a clip that is restored, (F, 3, H, W) in [0, 1]."""
        pixels = np.load(self._source.packed / shard.path, mmap_mode="r")[: self._recipe.validation_frames]
        frames = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)  # (F, H, W, 3) -> (F, 3, H, W)
        return centre(frames, *self._size(shard)) / 255

    def run(self, stage: Stage, step: int) -> Scores:
        """Return means over clips by degradation and method, as in `{"bicubic LQ, steps 1": {"psnr_y": 26.1, ...}}`.

        Methods are those of `stage.restore` and bicubic upscaling. Measures are PSNR-Y, SSIM-Y and, if the recipe asks
        for it, VMAF, plus `seam` if the stage has patch lines: the worst line of a clip. Training modes and the global
        random state are restored afterwards.

        If the stage has methods, the middle frame of every clip is written to `FILE_DEGRADATION.png` in
        `logs.picture_folder`, as panels of up to 512x512 px from the centre. `panels.txt` in the same folder names the
        panels from left to right: the bicubically upscaled low-quality frame, each method, the original.
        """
        pictures = picture_folder(self._recipe.run, step)
        by_method: dict[str, list[Measures]] = {}
        with undisturbed(stage, self._recipe.seed):
            for case in self._cases:
                for method, measures in self._measure(stage, case, pictures).items():
                    by_method.setdefault(f"{case.degradation} LQ, {method}", []).append(measures)
        return {method: _mean(measures) for method, measures in by_method.items()}

    def _measure(self, stage: Stage, case: Case, pictures: Path) -> Scores:
        hq, lq = self._original(case.shard), case.lq.float() / 255
        # Measure on the CPU: GPUs use TF32 in convolutions by default, and SSIM's variances are differences of squares,
        # which need full precision.
        restored = {name: on_8_bits(clip.float().cpu()) for name, clip in stage.restore(lq, hq).items()}
        enlarged, lines = bicubic_enlarge(lq, SCALE), stage.patch_lines(hq.shape[-2], hq.shape[-1])
        case.baseline = case.baseline or self._compare(enlarged, hq, lines)
        if restored and _is_main_process():
            write_picture(pictures / f"{case.name}.png", {"LQ": enlarged, **restored, "HQ": hq})
        return {BASELINE: case.baseline} | {name: self._compare(clip, hq, lines) for name, clip in restored.items()}

    def _compare(self, clip: Tensor, hq: Tensor, lines: Lines) -> Measures:
        scores = measure_clip(_meters(self._recipe), clip, hq)
        measures = {name: value for name, value in scores.items() if not name.endswith("_rgb")}
        return measures | ({"seam": seam_score(clip, *lines)} if any(lines) else {})


def _meters(recipe: Recipe) -> list[Meter]:
    return [PsnrMeter(), SsimMeter(), *([VmafMeter()] if recipe.validation_vmaf else [])]


@contextmanager
def undisturbed(stage: nn.Module, seed: int) -> Iterator[None]:
    """Set evaluation mode and seed the global random state; restore both on exit."""
    modes = {module: module.training for module in stage.modules()}
    with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        stage.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode  # per module: frozen parts may always be in evaluation mode


def write_picture(file: Path, panels: Mapping[str, Tensor]) -> None:
    """Write the middle frames of clips (F, 3, H, W) as one image of panels, and their names to `panels.txt`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / "panels.txt").write_text("\n".join(panels) + "\n", encoding="utf-8")
    frames = [centre(clip[len(clip) // 2], PANEL_PX, PANEL_PX) for clip in panels.values()]
    picture = to_array(torch.cat(frames, dim=-1))
    file.write_bytes(encode_image(picture, file.suffix))


def centre(frames: Tensor, height: int, width: int) -> Tensor:
    """Centre-crop frames (..., H, W) to at most this size."""
    top, left = (max(0, whole - part) // 2 for whole, part in zip(frames.shape[-2:], (height, width), strict=True))
    return frames[..., top : top + height, left : left + width]


def _is_main_process() -> bool:
    """Tell whether this process writes files. All processes restore clips, as sharded weights need; one writes."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _mean(measures: Sequence[Measures]) -> Measures:
    return {name: sum(each[name] for each in measures) / len(measures) for name in measures[0]}

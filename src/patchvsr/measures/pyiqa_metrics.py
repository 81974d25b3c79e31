"""Metrics of pyiqa, where the user has installed it: LPIPS, DISTS, MUSIQ, CLIP-IQA.

pyiqa is licensed for noncommercial use and downloads weights, so it is no dependency, and nothing is downloaded here:
a metric whose weights are not on the disk says which command gets them.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from patchvsr.errors import PatchVSRError
from patchvsr.extras import require
from patchvsr.measures.meter import FrameMeter, FrameTriple, Need, Score


class _PyiqaMeter(FrameMeter):
    """A metric of pyiqa on single frames, in RGB.

    weights: files that it loads, relative to torch's hub folder (`TORCH_HOME`), or to the home folder where `~`.
    """

    weights: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        """Raise PatchVSRError if pyiqa or the weights are missing, or the weights hold more than tensors."""
        super().__init__()
        name = self.scores[0].name
        pyiqa = require("pyiqa", command="pip install pyiqa")
        for file in self.weights:
            _check_weights(Path(torch.hub.get_dir(), Path(file).expanduser()), name)
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # it prints what it loads
            self._metric: Any = pyiqa.create_metric(name, device=torch.device("cpu"))

    @torch.no_grad()
    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        pictures = [frame.output] if frame.original is None or not self.needs else [frame.output, frame.original]
        return {self.scores[0].name: float(self._metric(*(picture[None] for picture in pictures)))}


class LpipsMeter(_PyiqaMeter):
    """LPIPS v0.1 on AlexNet: Zhang et al., "The Unreasonable Effectiveness of Deep Features", CVPR 2018."""

    scores = (Score("lpips", "LPIPS", better="lower", digits=3, help="v0.1 on AlexNet, of pyiqa"),)
    weights = ("checkpoints/alexnet-owt-7be5be79.pth", "pyiqa/LPIPS_v0.1_alex-df73285e.pth")


class DistsMeter(_PyiqaMeter):
    """DISTS: Ding et al., "Unifying Structure and Texture Similarity", TPAMI 2020."""

    scores = (Score("dists", "DISTS", better="lower", digits=3, help="of pyiqa"),)
    weights = ("checkpoints/vgg16-397923af.pth", "pyiqa/DISTS_weights-f5e65c96.pth")


class MusiqMeter(_PyiqaMeter):
    """MUSIQ trained on KonIQ-10k: Ke et al., "Multi-scale Image Quality Transformer", ICCV 2021."""

    scores = (Score("musiq", "MUSIQ", better="higher", digits=1, help="without the original; KonIQ-10k, of pyiqa"),)
    needs: ClassVar[frozenset[Need]] = frozenset()
    weights = ("pyiqa/musiq_koniq_ckpt-e95806b9.pth",)


class ClipIqaMeter(_PyiqaMeter):
    """CLIP-IQA: Wang et al., "Exploring CLIP for Assessing the Look and Feel of Images", AAAI 2023."""

    scores = (Score("clipiqa", "CLIP-IQA", better="higher", digits=3, help="without the original; of pyiqa"),)
    needs: ClassVar[frozenset[Need]] = frozenset()
    weights = ("~/.cache/clip/RN50.pt",)


def _check_weights(file: Path, metric: str) -> None:
    """Raise PatchVSRError unless the file exists and holds nothing but tensors: pyiqa would run the code in it."""
    if not file.is_file():
        raise PatchVSRError(
            f"the weights {file.name} are not in {file.parent}; "
            f"run: python -c \"import pyiqa; pyiqa.create_metric('{metric}')\""
        )
    if file.suffix == ".pt":  # TorchScript, which pyiqa compares with a hash it knows
        return
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PatchVSRError(f"{file} does not hold weights alone ({reason}): delete it and load it again") from None

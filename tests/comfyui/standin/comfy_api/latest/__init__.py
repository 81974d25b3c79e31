"""Nodes, their inputs and outputs, and videos from files."""

from __future__ import annotations

import io as streams
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
from torch import Tensor

from . import io, ui

__all__ = ["ComfyExtension", "InputImpl", "io", "ui"]


class ComfyExtension:
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        raise NotImplementedError


class InputImpl:
    class VideoFromFile:
        """A file or a file in memory, of which a part may stand for the whole."""

        def __init__(self, file: str | streams.BytesIO, *, start_time: float = 0.0, duration: float = 0.0) -> None:
            self._file, self._window = file, (start_time, duration)

        def get_stream_source(self) -> str | streams.BytesIO:
            if isinstance(self._file, streams.BytesIO):
                self._file.seek(0)
            return self._file

        def get_active_trim_window(self) -> tuple[float, float]:
            return self._window

        def get_dimensions(self) -> tuple[int, int]:
            with av.open(self.get_stream_source()) as container:
                return container.streams.video[0].width, container.streams.video[0].height

        def get_components(self) -> Any:
            raise AssertionError("all frames would be in memory")

    class VideoFromComponents:
        """Frames in memory: images (F, H, W, 3) in [0, 1]."""

        def __init__(self, images: Tensor, rate: int) -> None:
            self._images, self._rate = images, rate

        def get_components(self) -> SimpleNamespace:
            return SimpleNamespace(images=self._images, audio=None, frame_rate=Fraction(self._rate))

        def get_stream_source(self) -> streams.BytesIO:
            raise ValueError("Could not determine output format")  # as ComfyUI 0.8.0

        def save_to(self, path: str) -> None:
            with av.open(path, "w") as out:
                stream = out.add_stream("h264", rate=self._rate)
                _, stream.height, stream.width, _ = self._images.shape
                for image in self._images.mul(255).byte().numpy():
                    out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                out.mux(stream.encode(None))

"""Nodes, their inputs and outputs, and videos from files."""

from __future__ import annotations

import io as streams
from typing import Any

import av

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

        def get_components(self) -> Any:
            raise AssertionError("all frames would be in memory")

        def get_dimensions(self) -> tuple[int, int]:
            with av.open(self.get_stream_source()) as container:
                return container.streams.video[0].width, container.streams.video[0].height

"""Look at every frame of a job as it is restored, wherever the job runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from patchvsr.events import Event
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.work import Engine, Machine, Stop, Work
from patchvsr.media import Frame
from patchvsr.media.segment import EncodedFrame, FrameDecoder, FrameEncoder
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings

# Takes a restored frame before it is encoded. An error that it raises ends the job, as any other does.
Look = Callable[[Frame], None]


class Watched(Engine):
    """Another engine that shows every frame to `look`, in order. Output and records stay the same."""

    def __init__(self, engine: Engine, look: Look) -> None:
        self._engine, self._look = engine, look

    def machine(self, settings: RestoreSettings, size: Size, begun_with: dict[str, Any] | None) -> Machine:
        return self._engine.machine(settings, size, begun_with)

    def restore(self, work: Work, folder: JobFolder, stop: Stop | None) -> Iterator[Event | None]:
        watched = replace(work, new_encoder=lambda: _WatchedEncoder(work.new_encoder(), self._look))
        return self._engine.restore(watched, folder, stop)


class _WatchedEncoder(FrameEncoder):
    def __init__(self, encoder: FrameEncoder, look: Look) -> None:
        self._encoder, self._look = encoder, look

    def encode(self, frame: Frame) -> list[EncodedFrame]:
        self._look(frame)
        return self._encoder.encode(frame)

    def finish(self) -> list[EncodedFrame]:
        return self._encoder.finish()

    def decoder(self) -> FrameDecoder | None:
        return self._encoder.decoder()

"""Repeat work in smaller pieces when memory runs out, and record the sizes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from patchvsr.errors import SettingsError
from patchvsr.settings import ResolvedSettings

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST_TILE_PX = 160


@dataclass
class Pieces:
    """Batch and tile size. Neither changes the result: patches and tiles give the same as the whole."""

    batch_size: int
    tile_px: int
    _notices: list[str] = field(default_factory=list)

    def new_notices(self) -> list[str]:
        """Return the step-downs since the last call, as lines for the user."""
        notices, self._notices = self._notices, []
        return notices

    def applied_to(self, settings: ResolvedSettings) -> ResolvedSettings:
        """Return the settings with these sizes."""
        return replace(settings, batch_size=self.batch_size, tile_px=self.tile_px)

    def as_record(self) -> dict[str, int]:
        return {"batch_size": self.batch_size, "tile_px": self.tile_px}

    def retried(self, attempt: Callable[[], Generator[Item, None, Result]]) -> Generator[Item, None, Result]:
        """Yield what `attempt()` yields, which begins anew with smaller pieces whenever memory runs out.

        Returns what the last attempt returned.

        Raises SettingsError if the smallest pieces are still too large.
        """
        items = attempt()
        try:
            while True:
                try:
                    item = next(items)
                except StopIteration as end:
                    return end.value
                except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error):
                        raise
                    reason = " ".join(str(error).split())[:200]
                else:
                    yield item
                    continue
                self._shrink(reason)  # after the except clause, which would keep the failed work's tensors alive
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                items = attempt()
        finally:
            items.close()

    def _shrink(self, reason: str) -> None:
        if self.batch_size > 1:
            self.batch_size //= 2
        elif self.tile_px > LEAST_TILE_PX:
            self.tile_px = max(LEAST_TILE_PX, self.tile_px // 2)
        else:
            raise SettingsError(
                f"not enough memory even for single patches and tiles of {self.tile_px} pixels ({reason}): "
                "restore fewer frames at once with --chunk-frames, or a smaller size"
            )
        self._notices.append(
            f"out of memory: starting the unit again with batches of {self.batch_size} and tiles of "
            f"{self.tile_px} pixels (slower, same result)"
        )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()  # the CPU's allocator raises a plain RuntimeError
    return "alloc" in text and ("memory" in text or "bytes" in text)

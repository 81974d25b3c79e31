"""Patch parallelism: devices that denoise one clip together, each its share of every step's patches.

All of them hold the whole model and the whole canvas. A step costs one exchange: the integer sums of the canvases are
added, so the result has the bytes of one device (`patches.canvas`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


class PeerFailedError(RuntimeError):
    """Another device of the group could not do its share. The group is intact."""


class PeerLostError(RuntimeError):
    """Another device of the group is gone, and the group is of no use any more."""


class Alone:
    """A device that denoises by itself, and the interface of those that do not."""

    def share(self, batches: Sequence[Item]) -> Sequence[Item]:
        """Return the batches of patches that this device predicts."""
        return batches

    def add_up_(self, sums: Tensor) -> None:
        """Add the `sums` (int64, on any device) of all devices, in place.

        Raises PeerFailedError or PeerLostError, and nothing is added.
        """

    @contextmanager
    def together(self, **arguments: Any) -> Iterator[None]:
        """Denoise within this block, while the other devices do so with the same `arguments`."""
        yield


class PatchGroup(Alone):
    """One of several devices, connected by `group`, a `torch.distributed.ProcessGroupGloo`.

    All enter and leave `together` as often, and call `add_up_` as often within. Before each exchange they tell each
    other whether they have failed. So whichever fails, and wherever, all leave the block, and can enter it again.
    """

    def __init__(self, group: Any) -> None:
        self._group = group

    def share(self, batches: Sequence[Item]) -> Sequence[Item]:
        return batches[self._group.rank() :: self._group.size()]

    def add_up_(self, sums: Tensor) -> None:
        all_sums = sums.cpu()  # where what failed on a device before is raised, so before the others are told
        self._tell(failed=False)
        self._exchange(all_sums)
        sums.copy_(all_sums)

    @contextmanager
    def together(self, **arguments: Any) -> Iterator[None]:
        try:
            yield
        except (PeerFailedError, PeerLostError):
            raise  # the others know
        except Exception:
            with suppress(PeerFailedError):  # which is this failure
                self._tell(failed=True)
            raise
        self._tell(failed=False)

    def _tell(self, *, failed: bool) -> None:
        """Raise PeerFailedError if any device has failed, this one included."""
        failures = torch.tensor([int(failed)])
        self._exchange(failures)
        if failures.item():
            raise PeerFailedError("another device that shares the patches failed")

    def _exchange(self, sums: Tensor) -> None:
        try:
            self._group.allreduce([sums]).wait()
        except RuntimeError as error:
            raise PeerLostError(f"a device that shares the patches is gone: {error}") from error


ALONE = Alone()

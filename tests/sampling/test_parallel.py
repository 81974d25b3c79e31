"""Devices that share the patches of a clip: the bytes of one device, and no device left waiting when one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
import toy
from torch import Tensor

from patchvsr.pixels.size import Size
from patchvsr.sampling.parallel import PatchGroup, PeerFailedError, PeerLostError
from patchvsr.settings import RestoreSettings

SIZE = Size(160, 96)
VIDEO = toy.video(9, 24, 40)


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


class Broken:
    """A velocity that fails in its second call."""

    def __init__(self, velocity: Callable[..., Tensor]) -> None:
        self.velocity, self.calls = velocity, 0

    def __call__(self, *arguments: Any, **named: Any) -> Tensor:
        self.calls += 1
        if self.calls == 2:
            raise MemoryError("this device is full")
        return self.velocity(*arguments, **named)


def on_devices(count: int, work: Callable[[int, Any], Any]) -> list[Any]:
    """Return what work(rank, pipeline) returned or raised on each of `count` connected devices: threads."""
    store, found = dist.HashStore(), [None] * count  # type: ignore[attr-defined]
    pipelines = [toy.pipeline() for _ in range(count)]

    def one(rank: int) -> None:
        group = dist.ProcessGroupGloo(store, rank, count, timedelta(seconds=60))
        pipelines[rank].devices = PatchGroup(group)
        try:
            found[rank] = work(rank, pipelines[rank])
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def denoised(pipeline: Any, **options: Any) -> Tensor:
    settings = pipeline.resolve(RestoreSettings(check=False, **options))
    return pipeline.denoise(VIDEO, SIZE, settings)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("options", [dict(num_inference_steps=2), dict(num_inference_steps=1, batch_size=2)])
def test_devices_that_share_patches_give_the_bytes_of_one(count: int, options: dict[str, Any]) -> None:
    predicted = [0] * count

    def work(rank: int, pipeline: Any) -> Tensor:
        forward = pipeline.transformer.forward

        def counted(patches: Tensor, *arguments: Any, **named: Any) -> Any:
            predicted[rank] += len(patches)
            return forward(patches, *arguments, **named)

        pipeline.transformer.forward = counted
        return denoised(pipeline, **options)

    whole = denoised(toy.pipeline(), **options)
    assert all(torch.equal(found, whole) for found in on_devices(count, work))
    patches = toy.pipeline().count_patches(9, SIZE, "auxiliary")
    assert patches > count and sum(predicted) == options["num_inference_steps"] * patches
    assert max(predicted) - min(predicted) <= options["num_inference_steps"] * options.get("batch_size", 1)


@pytest.mark.parametrize("part", ["transformer", "_conditions"])
def test_when_one_device_fails_all_stop_and_can_go_on(part: str) -> None:
    def work(rank: int, pipeline: Any) -> Any:
        if part == "transformer" and rank == 1:
            pipeline.transformer.forward = Broken(pipeline.transformer.forward)
        if part == "_conditions" and rank == 1:
            broken = pipeline._conditions = Broken(pipeline._conditions)
            broken.calls = 1
        try:
            denoised(pipeline, num_inference_steps=2)
        except (MemoryError, PeerFailedError) as error:
            return type(error), denoised(pipeline, num_inference_steps=2)

    whole = denoised(toy.pipeline(), num_inference_steps=2)
    kept, full = on_devices(2, work)
    assert kept[0] is PeerFailedError and full[0] is MemoryError
    assert torch.equal(kept[1], whole) and torch.equal(full[1], whole)


def test_an_error_that_shows_when_the_sums_are_copied_does_not_mix_up_the_exchanges() -> None:
    class Lazy(Tensor):
        """A tensor of a device whose earlier work failed."""

        def cpu(self) -> Tensor:  # type: ignore[override]
            raise RuntimeError("an illegal access was encountered")

    def work(rank: int, pipeline: Any) -> Any:
        sums = torch.ones(25, dtype=torch.int64)
        try:
            with pipeline.devices.together():
                pipeline.devices.add_up_(sums.as_subclass(Lazy) if rank == 1 else sums)
        except RuntimeError as error:
            return type(error), sums.sum().item()

    assert on_devices(2, work) == [(PeerFailedError, 25), (RuntimeError, 25)]


def test_a_device_that_is_gone_is_noticed() -> None:
    def work(rank: int, pipeline: Any) -> None:
        if rank == 1:
            del pipeline.devices  # which closes its connections
        else:
            denoised(pipeline, num_inference_steps=1)

    left, _ = on_devices(2, work)
    assert isinstance(left, PeerLostError) and "a device that shares the patches is gone" in str(left)

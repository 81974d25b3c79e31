"""Measure samples per second of each stage, and check that they load at least three times as fast as they are used.

python benchmarks/training.py --packed runs/packed --output runs/mini [--recipes mini_autoencoder ...] [--steps 10]

Times loading alone, then steps alone on one loaded batch, with the recipe's batch size, patch sizes and degradation.
The last columns tell what the step attains, and the share of its time that its kernels (convolutions, matrix products,
attention, forward and backward) take when each is run alone and repeatedly, on inputs that stay in place.
Workers may have up to four batches ready when timing starts, so use more steps than that.
Needs the previous stages of each recipe in `--output`, or `--init fast`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from kernels import Kernels

from patchvsr.allocator import keep_freed_memory
from patchvsr.errors import PatchVSRError
from patchvsr.training.build import build_stage
from patchvsr.training.checkpoint import trained_parameters
from patchvsr.training.recipes import Recipe, resolve
from patchvsr.training.run import samples_of
from patchvsr.training.samples import batches
from patchvsr.training.stages import Stage

NEEDED_RATIO = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packed", type=Path, required=True, help="packed training data")
    parser.add_argument("--output", default="runs/mini", help="folder of the stages' runs")
    parser.add_argument("--init", default="", help="model to start from instead of previous stages")
    parser.add_argument(
        "--recipes", nargs="*", default=["mini_autoencoder", "mini_base", "mini_adapter", "mini_distill"]
    )
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_flush_denormal(True)
    print(f"{torch.get_num_threads()} threads\n")
    print(
        "| recipe | samples a step | loader, s a step | training, s a step | ratio | samples a second | TFLOP/s "
        "| share of the kernels |\n" + "|---" * 8 + "|"
    )
    for name in args.recipes:
        try:
            recipe = resolve(name, {"packed": str(args.packed), "output": args.output, "init": args.init})
            print(row(recipe, args.steps), flush=True)
        except PatchVSRError as error:
            sys.exit(str(error))


def row(recipe: Recipe, steps: int) -> str:
    stage = build_stage(recipe)
    loader = batches(samples_of(recipe, stage), recipe, 0)
    batch = next(loader)  # the workers have started
    loading = seconds(loader.__next__, steps)
    del loader
    step = one_step(recipe, stage, batch)
    training = seconds(step, steps)
    with Kernels() as kernels:
        step()
    ratio = training / loading
    verdict = "" if ratio >= NEEDED_RATIO else f" (below {NEEDED_RATIO})"
    return (
        f"| {recipe.name} | {recipe.batch_size} | {loading:.3f} | {training:.3f} | {ratio:.1f}{verdict} "
        f"| {recipe.batch_size / training:.2f} | {kernels.gflop / training / 1000:.2f} "
        f"| {kernels.seconds() / training:.0%} |"
    )


def one_step(recipe: Recipe, stage: Stage, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """Return a call that runs forward, backward and optimiser, as the trainer does for each batch."""
    parameters = list(trained_parameters(stage).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            losses = stage(batch)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(call: Callable[[], object], times: int) -> float:
    """Return the mean duration of a call, excluding the first."""
    call()
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times


if __name__ == "__main__":
    main()

"""Time the bundled model on this CPU: 9 frames of 160x88 to 640x352 at 0 steps, without files.

    python benchmarks/cpu.py
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/cpu.py --dtype bfloat16
    OMP_WAIT_POLICY=PASSIVE python benchmarks/cpu.py        # the command line sets this itself

CPU time hardly depends on what else runs; compare it with `taskset -c 0`.
"""

from __future__ import annotations

import argparse
import hashlib
import time

import torch
import torch.nn.functional as F

from patchvsr.compute import device_kind
from patchvsr.loading import load_pipeline
from patchvsr.settings import DTYPES, RestoreSettings

FRAMES = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, help="default: chosen for this CPU")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds after a first one")
    args = parser.parse_args()
    pipeline = load_pipeline(RestoreSettings(device="cpu", dtype=args.dtype))
    noise = torch.rand(1, 3, FRAMES, 22, 40, generator=torch.Generator().manual_seed(0))
    video = F.interpolate(noise, size=(FRAMES, 88, 160), mode="trilinear")[0].transpose(0, 1)  # (F, 3, H, W)
    times = []
    for _ in range(args.rounds + 1):
        started = time.perf_counter(), time.process_time()
        frames = pipeline(video, scale=4, num_inference_steps=0, seed=0, restoration=0.0).frames
        times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    wall, cpu = (1000 * seconds / FRAMES for seconds in min(times[1:] or times))
    digest = hashlib.sha256(frames.float().numpy().tobytes()).hexdigest()[:8]
    print(
        f"{device_kind('cpu')}, {pipeline.dtype}, {torch.get_num_threads()} threads: "
        f"{wall:.0f} ms a frame, {cpu:.0f} ms of CPU time, SHA-256 {digest}"
    )


if __name__ == "__main__":
    main()

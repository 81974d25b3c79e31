"""Queue a video in a running ComfyUI and sample the memory of its process: is it flat?

python benchmarks/comfyui.py --pid PID --file clip.mp4 [--url http://127.0.0.1:8188] [--factor 2] [--cancel-at 20]

The nodes are in ComfyUI's custom_nodes (docs/comfyui.md), the file is in its input folder, PID is its process. With
--cancel-at, the job is cancelled after so many seconds and queued again.
"""

import argparse
import json
import time
import urllib.request
from typing import Any

import psutil

SAMPLED_EVERY_S = 0.5
MIB = 2**20


class ComfyUI:
    """Its HTTP interface."""

    def __init__(self, url: str) -> None:
        self._url = url

    def call(self, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self._url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def queue(self, file: str, factor: float) -> str:
        """Queue a workflow of two nodes and return its id."""
        given = {
            "video": ["1", 0], "size": "by factor", "factor": factor, "model": "mini", "steps": 0, "restoration": -1,
            "seed": 0, "container": "mp4", "filename_prefix": f"patchvsr/benchmark_{time.time_ns()}",
        }  # fmt: skip
        self.workflow = {
            "1": {"class_type": "LoadVideo", "inputs": {"file": file}},
            "2": {"class_type": "PatchVSRUpscaleVideo", "inputs": given},
        }
        return self.again()

    def again(self) -> str:
        return self.call("/prompt", {"prompt": self.workflow})["prompt_id"]

    def result(self, id: str) -> dict[str, Any] | None:
        return self.call(f"/history/{id}").get(id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8188")
    parser.add_argument("--factor", type=float, default=2)
    parser.add_argument("--cancel-at", type=float)
    args = parser.parse_args()
    comfy, process = ComfyUI(args.url), psutil.Process(args.pid)

    print(f"ComfyUI {comfy.call('/system_stats')['system']['comfyui_version']}, idle {memory_mib(process):.0f} MiB")
    job = comfy.queue(args.file, args.factor)
    if args.cancel_at is not None:
        follow(comfy, process, job, cancel_at=args.cancel_at)
        job = comfy.again()
    follow(comfy, process, job)


def follow(comfy: ComfyUI, process: psutil.Process, job: str, cancel_at: float | None = None) -> None:
    """Print how a job ends, and its memory at every tenth of its time."""
    started_at, samples, cancelled_at = time.monotonic(), [], None
    while True:
        elapsed = time.monotonic() - started_at
        if cancel_at is not None and cancelled_at is None and elapsed >= cancel_at:
            comfy.call("/interrupt", {})
            cancelled_at = elapsed
        samples.append(memory_mib(process))
        if (result := comfy.result(job)) is not None:
            break
        time.sleep(SAMPLED_EVERY_S)
    outcome = [name for name, _ in result["status"]["messages"]][-1]
    heard = "" if cancelled_at is None else f", {elapsed - cancelled_at:.1f} s after the cancel"
    print(f"{outcome} after {elapsed:.0f} s{heard}: {json.dumps(result['outputs'])}")
    tenths = [samples[(len(samples) - 1) * tenth // 10] for tenth in range(11)]
    print("MiB:", *(f"{mib:.0f}" for mib in tenths), f"largest {max(samples):.0f}")


def memory_mib(process: psutil.Process) -> float:
    return process.memory_info().rss / MIB


if __name__ == "__main__":
    main()

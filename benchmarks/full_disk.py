"""A full disk must cost no work: one clear line, exit code 2, and after some room was made the same command goes on.

sudo python benchmarks/full_disk.py

The output lies on a small disk in memory (mounting one needs root). At each of five moments a ballast file takes all
that is left of it but a few KiB; then the ballast is removed, and the job must end with the bytes it has elsewhere.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import toy
from filling import DISK_KIB, MOMENTS, fail_and_go_on, small_disk
from jobfiles import make_shots, run


def main() -> None:
    """Fail at every moment and print a table."""
    print("| full at | shown | exit code | then |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        source, whole = make_shots(Path(name) / "in.mkv"), Path(name) / "whole.mkv"
        run(source, whole, toy.pipeline(num_inference_steps=1))
        for moment in MOMENTS:
            with small_disk(DISK_KIB) as disk:
                shown, code = fail_and_go_on(moment, source, whole, disk)
                print(f"| {moment} | {shown.replace(str(disk), '...')} | {code} | same bytes |", flush=True)


if __name__ == "__main__":
    main()

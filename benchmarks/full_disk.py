"""Check that a full disk loses no work: one clear line, exit code 2, and the same command resumes once there is space.

sudo python benchmarks/full_disk.py

The output is on a small tmpfs, which needs root to mount. At each of five moments a ballast file fills it up except
for a few KiB. Then the ballast is removed, and the resumed job must produce the same bytes as an undisturbed one.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import toy
from filling import DISK_KIB, MOMENTS, fail_and_go_on, small_disk
from jobfiles import make_shots, run


def main() -> None:
    """Fill the disk at every moment and print a table."""
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

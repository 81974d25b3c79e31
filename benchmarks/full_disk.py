"""A disk that becomes full must cost no work: one clear line, exit code 2, and the same command goes on.

sudo python benchmarks/full_disk.py

The job and its output are on a small disk in memory (mounting one needs root). A ballast file leaves only so much space
that the job fails at its manifest, its first unit, a later one, while assembling, or at its result.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


from patchvsr.events import Assembling, Planned, Progress, Scanning

DISK_KIB = 4096
# The event after which the disk is filled, which of them, and how much is left then, in KiB.
MOMENTS = {
    "manifest": (Scanning, 1, 0),
    "first unit": (Planned, 1, 4),
    "later unit": (Progress, 5, 4),
    "assembling": (Assembling, 1, 16),
}

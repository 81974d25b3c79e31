"""What every process of the tests does to be quick; imported before torch and numpy."""

import os

# Workers share the cores: with a thread for each core in each of them, they would mostly wait for one another.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import torch

torch.set_num_threads(1)
torch.set_flush_denormal(True)  # random weights make numbers so small that a CPU takes a hundred times as long


def fsync(file: int) -> None:
    """Only a power cut can tell whether the disk has been waited for, and no test makes one. The file must be open."""
    os.fstat(file)


os.fsync = fsync

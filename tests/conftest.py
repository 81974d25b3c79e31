"""One torch thread in every worker and in the processes it starts: workers share the cores, threads would fight."""

import functools
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read when torch and numpy are imported
    os.environ[name] = "1"

import command
import pytest
import torch

torch.set_num_threads(1)
torch.set_flush_denormal(True)  # random weights make numbers so small that a CPU takes a hundred times as long


@pytest.fixture
def patchvsr(capfd):
    """The whole command in this process: exit code, output and all."""
    return functools.partial(command.run_here, capfd)

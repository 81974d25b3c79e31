"""What all tests share."""

import functools

import economy  # noqa: F401  (the first: it sets what torch reads when it is imported)

# isort: split
import command
import pytest


@pytest.fixture
def patchvsr(capfd):
    """The whole command in this process: exit code, output and all."""
    return functools.partial(command.run_here, capfd)

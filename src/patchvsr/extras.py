"""Import optional packages, with an error that names the command to install a missing one."""

from importlib import import_module
from types import ModuleType

from patchvsr.errors import PatchVSRError


def require(module: str, *, extra: str = "", command: str = "") -> ModuleType:
    """Import and return `module`, which belongs to the optional dependencies `extra`.

    Args:
        command: what to run instead, for a package that no extra can list.

    Raises:
        PatchVSRError: `module`, or something it imports, is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        missing = error.name or module
        command = command or f"pip install 'patchvsr[{extra}]'"
        raise PatchVSRError(f"{missing} is not installed; run: {command}") from error

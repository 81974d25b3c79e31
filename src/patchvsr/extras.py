"""Import optional packages, with an error that names the command to install a missing one."""

from importlib import import_module
from types import ModuleType

from patchvsr.errors import PatchVSRError


def require(module: str, *, extra: str) -> ModuleType:
    """Import and return `module`, which belongs to the optional dependencies `extra`.

    Raises:
        PatchVSRError: `module`, or something it imports, is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise PatchVSRError(f"{missing} is not installed; run: pip install 'patchvsr[{extra}]'") from error

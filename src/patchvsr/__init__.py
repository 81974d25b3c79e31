"""PatchVSR: video super-resolution to any size, patch by patch, with a video diffusion transformer."""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from patchvsr.models.mini.autoencoder import MiniAutoencoder
    from patchvsr.models.transformer import PatchVSRTransformer3DModel
    from patchvsr.pipeline import PatchVSRPipeline

__all__ = ["MiniAutoencoder", "PatchVSRPipeline", "PatchVSRTransformer3DModel", "__version__"]

# Imported on first use: `patchvsr --help` should not wait for torch.
_MODULES = {
    "MiniAutoencoder": "patchvsr.models.mini.autoencoder",
    "PatchVSRPipeline": "patchvsr.pipeline",
    "PatchVSRTransformer3DModel": "patchvsr.models.transformer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'patchvsr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)

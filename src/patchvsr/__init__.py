"""PatchVSR: video super-resolution to any size, patch by patch, with a video diffusion transformer."""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder
    from patchvsr.models.transformer import PatchVSRTransformer3DModel
    from patchvsr.pipeline import PatchVSRPipeline

__all__ = ["PatchVSRPipeline", "PatchVSRTransformer3DModel", "ResidualAutoencoder", "__version__"]

# Imported on first use: `patchvsr --help` should not wait for torch.
_MODULES = {
    "PatchVSRPipeline": "patchvsr.pipeline",
    "PatchVSRTransformer3DModel": "patchvsr.models.transformer",
    "ResidualAutoencoder": "patchvsr.models.mini.residual_autoencoder",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'patchvsr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)

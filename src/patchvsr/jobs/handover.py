"""Store what a unit hands over to the next one of its shot, so that a resumed job gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from patchvsr import files
from patchvsr.decoding import ClipState
from patchvsr.models.autoencoder import State
from patchvsr.models.tiles import States, Tile


def write_handover(state: ClipState, path: Path) -> None:
    """Write a state atomically and durably."""
    tensors: dict[str, Tensor] = {}
    if state.restoration is not None:
        tensors["restoration"] = torch.tensor(state.restoration, dtype=torch.float64)
    if state.latents is not None:
        tensors["latents"] = state.latents.contiguous()
    for tile, decoder in state.decoder.items():
        if decoder is not None:
            name = ",".join(map(str, tile.inner + tile.outer))
            tensors[f"decoder/{name}/frames"] = torch.tensor(decoder.num_frames)
            # Features are channels_last in memory, which safetensors does not know: stored so, they are not copied.
            features = {name_: feature.movedim(-3, -1) for name_, feature in decoder.features.items()}
            tensors |= {f"decoder/{name}/features/{key}": value.contiguous() for key, value in features.items()}
    with files.new_file(path) as temporary:
        save_file(tensors, temporary)


def read_handover(path: Path) -> ClipState:
    """Read a state. Raises OSError, SafetensorError, KeyError or ValueError if it is missing or damaged."""
    tensors = load_file(path)
    tiles: dict[str, dict[str, Tensor]] = {}
    frames: dict[str, int] = {}
    for key, value in tensors.items():
        if key.startswith("decoder/"):
            _, name, *rest = key.split("/")
            if rest == ["frames"]:
                frames[name] = int(value)
            else:
                tiles.setdefault(name, {})[rest[1]] = value.movedim(-1, -3)
    decoder: States = {_tile(name): State(count, tiles[name]) for name, count in frames.items()}
    restoration = tensors["restoration"].item() if "restoration" in tensors else None
    return ClipState(tensors.get("latents"), restoration, decoder)


def _tile(name: str) -> Tile:
    a, b, c, d, *outer = map(int, name.split(","))
    return Tile((a, b, c, d), (outer[0], outer[1], outer[2], outer[3]))

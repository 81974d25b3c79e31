"""Run the real configurations of Wan bases with random weights, which cost the same as trained ones.

python benchmarks/bases.py count
python benchmarks/bases.py plan
python benchmarks/bases.py make wan2.1-1.3b /tmp/wan2.1-1.3b
python benchmarks/bases.py cost /tmp/wan2.1-1.3b --frames 17 --device cpu
python benchmarks/bases.py tiles wan2.1-1.3b --sides 192,288 --frames 5 --dtype float32
python benchmarks/bases.py joins /tmp/wan2.1-1.3b --side 128

`count` builds every base without memory and compares its number of parameters with the published one. `plan` prints
what `patchvsr upscale --plan` computes for cards of 24, 48 and 80 GB. `make` writes a base in the Hub's layout, with
its prompt in PATCHVSR_CACHE. `cost` measures one denoising step of a patch, encoding and decoding one, and a step of
training an adapter on one, each in a process of its own: seconds of the last run and peak memory, on the device or of
the process.
`tiles` measures the memory of a process that encodes or decodes a tile, beside what the plan computes. `joins` compares
a clip that is encoded and decoded in two chunks with the same clip as a whole.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from patchvsr.allocator import keep_freed_memory
from patchvsr.evaluation.measured import run_measured
from patchvsr.jobs.memory import chunk_memory
from patchvsr.loading import WAN_KEEPS_BYTES
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.models.wan_base.autoencoder import WanAutoencoder
from patchvsr.models.wan_base.base import load_base, load_base_autoencoder
from patchvsr.models.wan_base.prompt import FIXED_PROMPT, PROMPT_LENGTH, prompt_file
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import STORAGE_DTYPES, RestoreSettings
from patchvsr.training.build import trained_in_float32
from patchvsr.training.checkpoint import trained_parameters
from patchvsr.training.recipes import wan21_adapter
from patchvsr.training.stages import AdapterStage

GIB = 2**30
CONTEXT_GIB = 1.0  # what a process takes of a card before it computes
SHARED = dict(patch_size=(1, 2, 2), attention_head_dim=128, text_dim=4096, freq_dim=256, eps=1e-6)
VAE21 = dict(base_dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True])
VAE22 = VAE21 | dict(
    base_dim=160, decoder_base_dim=256, z_dim=48, is_residual=True, patch_size=2, in_channels=12, out_channels=12,
    scale_factor_spatial=16, latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
)  # fmt: skip
# Transformer, autoencoder, and the number of parameters that the model's card tells, in billions.
BASES: dict[str, tuple[dict, dict, float]] = {
    "wan2.1-1.3b": (dict(num_attention_heads=12, ffn_dim=8960, num_layers=30), VAE21, 1.3),
    "wan2.1-14b": (dict(num_attention_heads=40, ffn_dim=13824, num_layers=40), VAE21, 14),
    "wan2.2-5b": (
        dict(num_attention_heads=24, ffn_dim=14336, num_layers=30, in_channels=48, out_channels=48), VAE22, 5,
    ),
}  # fmt: skip
# To see that a measurement runs, before an hour of a GPU is spent on it.
TOY = dict(num_attention_heads=1, ffn_dim=64, num_layers=2), VAE21 | dict(base_dim=8, num_res_blocks=1), 0


def count() -> None:
    """Print the parameters of every base as a Markdown table."""
    print("| base | transformer, M | published, B | autoencoder, M | weights in bfloat16, GiB |\n|---|---|---|---|---|")
    for name, (transformer, autoencoder, published) in BASES.items():
        with torch.device("meta"):
            parts = WanTransformer3DModel(**SHARED, **transformer), WanAutoencoder(**autoencoder)
        of_transformer, of_autoencoder = (sum(p.numel() for p in part.parameters()) for part in parts)
        gib = 2 * (of_transformer + of_autoencoder) / GIB
        print(f"| {name} | {of_transformer / 1e6:.0f} | {published:g} | {of_autoencoder / 1e6:.0f} | {gib:.1f} |")


def plan() -> None:
    """Print the memory of a card and of the host for every base and size, with an adapter and four steps."""
    print(
        "| base | output | card, GiB | float8 | with --cpu-offload | host, GiB | fits |\n|---|---|---|---|---|---|---|"
    )
    for name, (transformer, autoencoder, _) in BASES.items():
        pipeline, stored = (_on_meta(transformer, autoencoder) for _ in range(2))
        stored.transformer.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
        for size in (Size(1920, 1080), Size(3840, 2160), Size(7680, 4320)):
            usual, offloaded = (
                chunk_memory(pipeline, size, pipeline.resolve(RestoreSettings(cpu_offload=offload)), 17)
                for offload in (False, True)
            )
            in_float8 = chunk_memory(stored, size, pipeline.resolve(RestoreSettings()), 17)
            fits = [str(card) for card in (24, 48, 80) if usual.device_gib < card * 1e9 / GIB - CONTEXT_GIB]
            print(
                f"| {name} | {size} | {usual.device_gib:.1f} | {in_float8.device_gib:.1f} | {offloaded.device_gib:.1f} "
                f"| {usual.host_gib:.1f} | {', '.join(fits)} GB |"
            )


def _on_meta(transformer: dict, autoencoder: dict) -> PatchVSRPipeline:
    """Return a base with an adapter in bfloat16 that takes no memory."""
    with torch.device("meta"):
        vae = WanAutoencoder(**autoencoder)
        model = PatchVSRTransformer3DModel(**SHARED, **transformer, condition_channels=vae.geometry.condition_channels)
    return PatchVSRPipeline(model.to(torch.bfloat16), vae.to(torch.bfloat16), num_inference_steps=4)


def make(name: str, folder: Path) -> None:
    """Write a base with random weights in bfloat16, and a random prompt for it."""
    transformer, autoencoder, _ = TOY if name == "toy" else BASES[name]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)  # the largest base would not fit the host in float32
    WanTransformer3DModel(**SHARED, **transformer).save_pretrained(folder / "transformer")
    WanAutoencoder(**autoencoder).save_pretrained(folder / "vae")
    torch.set_default_dtype(torch.float32)
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    prompt = prompt_file(str(folder))
    prompt.parent.mkdir(parents=True, exist_ok=True)
    made_of = {"base": str(folder), "prompt": FIXED_PROMPT}
    save_file({"prompt_embeds": torch.randn(1, PROMPT_LENGTH, 4096)}, prompt, metadata=made_of)


def cost(folder: Path, parts: str, frames: int, side: int, device: str, runs: int, storage_dtype: str | None) -> None:
    """Print one JSON line for each part of the work on a patch."""
    stored = [] if storage_dtype is None else ["--storage-dtype", storage_dtype]
    for part in parts.split(","):
        options = [str(folder), part, str(frames), str(side), device, "--runs", str(runs), *stored]
        command = [sys.executable, __file__, "part", *options]
        measured = run_measured(command)
        print(measured.last_words() if measured.code else measured.output.strip(), flush=True)


@torch.no_grad()
def measure(
    folder: Path, part: str, frames: int, side: int, device: str, runs: int, storage_dtype: str | None
) -> dict[str, float | str]:
    """Run one part `runs` times in this process; seconds are those of the last run."""
    keep_freed_memory(WAN_KEEPS_BYTES)  # as jobs do
    if part in ("encode", "decode"):  # without the transformer, which would hide their peak
        transformer, autoencoder = None, load_base_autoencoder(str(folder), dtype=torch.bfloat16).to(device)
    else:
        transformer, autoencoder = (model.to(device) for model in load_base(str(folder), dtype=torch.bfloat16))
        if storage_dtype is not None:
            transformer.enable_layerwise_casting(getattr(torch, storage_dtype), compute_dtype=torch.bfloat16)
    cells = autoencoder.geometry.latent_shape(frames, side, side)
    run = PARTS[part](transformer, autoencoder, cells, torch.zeros(1, 3, frames, side, side, device=device))
    del transformer, autoencoder
    before = _memory_gib(device)
    for _ in range(runs):
        started_at = time.monotonic()
        run()
        seconds = time.monotonic() - started_at
    peak = torch.cuda.max_memory_allocated() / GIB if device != "cpu" else _peak_gib()
    return {
        "part": part, "frames": frames, "side": side, "seconds": round(seconds, 2), "before_gib": round(before, 2),
        "peak_gib": round(peak, 2),
    }  # fmt: skip


def tiles(name: str, sides: str, frames: int, dtype: str) -> None:
    """Print one JSON line for encoding and one for decoding a tile of every size, on the CPU."""
    for part in ("encode", "decode"):
        for side in sides.split(","):
            measured = run_measured([sys.executable, __file__, "tile", name, part, str(frames), side, dtype])
            print(measured.last_words() if measured.code else measured.output.strip(), flush=True)


@torch.no_grad()
def measure_tile(name: str, part: str, frames: int, side: int, dtype: str) -> dict[str, float | str]:
    """Encode or decode one tile in this process, with random weights."""
    keep_freed_memory(WAN_KEEPS_BYTES)  # as jobs do
    torch.set_default_dtype(getattr(torch, dtype))
    autoencoder = WanAutoencoder(**BASES[name][1]).eval()
    torch.set_default_dtype(torch.float32)
    cells = autoencoder.geometry.latent_shape(frames, side, side)
    run = PARTS[part](None, autoencoder, cells, torch.zeros(1, 3, frames, side, side))
    before, started_at = _memory_gib("cpu"), time.monotonic()
    run()
    seconds = time.monotonic() - started_at
    of_tile, _ = autoencoder.decoding_bytes(with_latents=True)
    of_pixel = autoencoder.encoder_tile_bytes if part == "encode" else of_tile
    planned = before + of_pixel * side**2 * autoencoder.dtype.itemsize / 2 / GIB
    return {
        "part": part, "frames": frames, "side": side, "dtype": dtype, "seconds": round(seconds, 1),
        "before_gib": round(before, 2), "peak_gib": round(_peak_gib(), 2), "planned_gib": round(planned, 2),
    }  # fmt: skip


@torch.no_grad()
def joins(folder: Path, side: int, chunk_frames: int) -> None:
    """Print how far the second of two chunks is from the whole clip, in parts of the whole's deviation, frame by frame.

    Chunks share a frame. It begins the second one as a frame of its own, as in jobs, or with its latents of the first
    chunk, which stand for four frames.
    """
    torch.manual_seed(0)
    autoencoder = load_base_autoencoder(str(folder), dtype=torch.float32)
    shared = chunk_frames - 1
    scene = torch.nn.functional.interpolate(
        torch.randn(1, 3, side // 8, side // 4), size=(side, 2 * side), mode="bicubic"
    )
    video = torch.stack([scene[..., at : at + side] for at in range(shared + chunk_frames)], dim=2).div(2).clamp(-1, 1)
    latents = autoencoder.encode(video)
    whole = autoencoder.decode(latents, video)[:, :, chunk_frames:]
    begins_with = {
        "a frame of its own": autoencoder.encode(video[:, :, shared:]),
        "latents of four frames": latents[:, :, shared // 4 :],
    }
    for kind, chunk in begins_with.items():
        joined = autoencoder.decode(chunk, video[:, :, shared:])[:, :, 1:]
        parts = [(joined - whole)[:, :, at].std() / whole[:, :, at].std() for at in range(shared)]
        print(json.dumps({"second chunk begins with": kind, "difference": [round(part.item(), 3) for part in parts]}))


def _step(transformer: WanTransformer3DModel, autoencoder: WanAutoencoder, cells: tuple, video: Tensor) -> Callable:
    noise = torch.randn(1, autoencoder.geometry.latent_channels, *cells, dtype=torch.bfloat16, device=video.device)
    prompt = torch.randn(1, PROMPT_LENGTH, transformer.config.text_dim, dtype=torch.bfloat16, device=video.device)
    return lambda: transformer(noise, torch.tensor([500.0], device=video.device), prompt).sample


def _encode(transformer: WanTransformer3DModel, autoencoder: WanAutoencoder, cells: tuple, video: Tensor) -> Callable:
    return lambda: autoencoder.encode(video)


def _decode(transformer: WanTransformer3DModel, autoencoder: WanAutoencoder, cells: tuple, video: Tensor) -> Callable:
    latents = torch.randn(1, autoencoder.geometry.latent_channels, *cells, dtype=torch.bfloat16, device=video.device)
    return lambda: autoencoder.decode(latents, video)


def _train(transformer: WanTransformer3DModel, autoencoder: WanAutoencoder, cells: tuple, video: Tensor) -> Callable:
    """Return one training step of a new adapter on one patch, as the recipe of a base has it."""
    side = video.shape[-1]
    recipe = replace(wan21_adapter(), num_frames=video.shape[2], sizes=str(side), canvas_min=side, batch_size=1)
    prompt = torch.randn(1, PROMPT_LENGTH, transformer.config.text_dim)
    condition_channels = autoencoder.geometry.condition_channels
    model = PatchVSRTransformer3DModel.from_base(
        transformer, prompt_embeds=prompt, condition_channels=condition_channels
    ).to(video.device)
    model.train_adapter_and_lora(rank=recipe.lora_rank)
    model.enable_gradient_checkpointing()
    stage = trained_in_float32(AdapterStage(recipe, autoencoder, model))
    trained = list(trained_parameters(stage).values())
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    conditions = torch.zeros(condition_channels, *cells)
    sample = stage.make_sample.noise(torch.Generator().manual_seed(0), cells) | {
        "latents": torch.zeros(autoencoder.geometry.latent_channels, *cells),
        "patch_latents": conditions, "global_latents": conditions, "mask": torch.ones(1, *cells[1:]),
        "box": torch.tensor([0.0, 0.0, 1.0, 1.0]), "scale": torch.tensor(4.0),
    }  # fmt: skip
    batch = {name: value.unsqueeze(0).to(video.device) for name, value in sample.items()}

    @torch.enable_grad()
    def step() -> None:
        with torch.autocast(video.device.type, torch.bfloat16):
            losses = stage(batch)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


PARTS = {"step": _step, "encode": _encode, "decode": _decode, "train": _train}


def _memory_gib(device: str) -> float:
    if device != "cpu":
        return torch.cuda.memory_allocated() / GIB
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / GIB


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Run one of the commands above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("count")
    commands.add_parser("plan")
    making = commands.add_parser("make")
    making.add_argument("name", choices=BASES)
    making.add_argument("folder", type=Path)
    costing = commands.add_parser("cost")
    costing.add_argument("folder", type=Path)
    costing.add_argument("--parts", default=",".join(PARTS), help="with commas")
    costing.add_argument("--frames", type=int, default=17)
    costing.add_argument("--side", type=int, default=512)
    costing.add_argument("--device", default="cpu")
    one = commands.add_parser("part")
    for name, kind in (("folder", Path), ("part", str), ("frames", int), ("side", int), ("device", str)):
        one.add_argument(name, type=kind)
    for command in (costing, one):
        command.add_argument("--runs", type=int, default=2, help="1 includes what only the first run takes")
        command.add_argument("--storage-dtype", choices=STORAGE_DTYPES, help="of the transformer, for `step`")
    tiling = commands.add_parser("tiles")
    tiling.add_argument("name", choices=BASES)
    tiling.add_argument("--sides", default="192,256", help="with commas")
    tiling.add_argument("--frames", type=int, default=5)
    tiling.add_argument("--dtype", default="float32")
    joining = commands.add_parser("joins")
    joining.add_argument("folder", type=Path)
    joining.add_argument("--side", type=int, default=128)
    joining.add_argument("--chunk-frames", type=int, default=17)
    tile = commands.add_parser("tile")
    for name, kind in (("name", str), ("part", str), ("frames", int), ("side", int), ("dtype", str)):
        tile.add_argument(name, type=kind)
    args = vars(parser.parse_args())
    command = args.pop("command")
    if command in ("part", "tile"):
        print(json.dumps({"part": measure, "tile": measure_tile}[command](**args)))
    else:
        {"count": count, "plan": plan, "make": make, "cost": cost, "tiles": tiles, "joins": joins}[command](**args)


if __name__ == "__main__":
    main()

"""Measure Wan bases on an accelerator, in one command: an hour of a GPU, or minutes with `--toy` on any machine.

python benchmarks/accelerator.py OUT
python benchmarks/accelerator.py OUT --toy --device cpu

Bases have their real configurations and random weights, which cost the same as trained ones, with an adapter that is
not trained. For each base: one patch in all its parts (`bases.py cost`); a denoising step in patches and of whole
frames at growing sizes (`patchvsr study efficiency`); `patchvsr upscale` at each size, and at the first one with every
option that should save time or memory, beside what `--plan` said before. Results so far are in OUT after every line,
with plots at the end; a base whose results are there is not measured again.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import bases
import torch
from safetensors.torch import load_file

from patchvsr.evaluation.machine import machine
from patchvsr.evaluation.measured import run_measured
from patchvsr.evaluation.studies.plot import log_plot
from patchvsr.media.lossless import LosslessWriter
from patchvsr.models.checkpoint import save_adapter
from patchvsr.models.wan_base.base import new_transformer
from patchvsr.models.wan_base.prompt import prompt_file
from patchvsr.pixels.size import Size

FRAMES, STEPS = 17, 4
SIZES, TOY_SIZES = ("720p", "1080p", "4k", "8k"), ("192x128", "288x192")
PATCH_PX, TOY_PATCH_PX = 512, 128
OPTIONS = {
    "as it is": [],
    "independent patches": ["--joint", "independent"],
    "shifted patches": ["--joint", "shifted"],
    "4 patches a call": ["--batch-size", "4"],
    "weights on the host": ["--cpu-offload"],
    "weights in float8": ["--storage-dtype", "float8_e4m3fn"],
    "compiled": ["--compile"],
    "flash attention": ["--attention-backend", "flash"],
}
CUDA_PEAK = "peak of the card"

Row = dict[str, Any]


def rows(base: str, args: argparse.Namespace, out: Path) -> Iterator[Row]:
    """Yield one row per measurement of a base. A measurement that fails says why, and the next one goes on."""
    folder, model = out / base, out / f"{base}-adapter"
    patch_px = TOY_PATCH_PX if args.toy else PATCH_PX
    if not model.exists():
        bases.make(base, folder)
        _write_adapter(folder, model, patch_px)
    device = ["--device", args.device]
    for part in bases.PARTS:
        place = [str(folder), part, str(FRAMES), str(patch_px), args.device]
        yield {"what": f"a patch: {part}"} | _measured([sys.executable, bases.__file__, "part", *place])

    sizes = TOY_SIZES if args.toy else SIZES
    study = ["study", "efficiency", f"--model={model}", f"--frames={FRAMES}", f"--out={out / base}-study", *device]
    chosen = [f"--size={size}" for size in sizes]
    yield {"what": "steps at growing sizes"} | _measured(_patchvsr([*study, *chosen, "--limit-s=300"]))

    source = _clip(out, Size.parse(sizes[0]))
    for size in sizes:
        for name, options in OPTIONS.items():
            if size == sizes[0] or name == "as it is":
                chosen = [f"--model={model}", f"--steps={STEPS}", f"--size={size}", *device, *options]
                yield {"what": "upscale", "size": size, "option": name} | _upscaled(source, chosen)
    plain = [f"--base={folder}", "--strength=0.3", f"--steps={STEPS}", f"--size={sizes[0]}", *device]
    yield {"what": "upscale", "size": sizes[0], "option": "without an adapter"} | _upscaled(source, plain)


def _write_adapter(base: Path, folder: Path, patch_px: int) -> None:
    prompt = load_file(prompt_file(str(base)))["prompt_embeds"]
    transformer, _ = new_transformer(str(base), prompt, dtype=torch.bfloat16)
    transformer.train_adapter_and_lora(rank=32)
    settings = {"patch_px": patch_px, "patch_frames": FRAMES, "num_inference_steps": STEPS}
    save_adapter(transformer, folder, base_name=str(base), pipeline=settings)


def _clip(out: Path, size: Size) -> Path:
    """Write a clip of noise, a quarter of a size on each side; what it shows changes no time."""
    file = out / "clip.mkv"
    with LosslessWriter(file) as writer:
        for index in range(FRAMES):
            writer.write(torch.rand(3, size.height // 4, size.width // 4), Fraction(index, 24))
    return file


def _upscaled(source: Path, options: list[str]) -> Row:
    """Plan and run a job. Frames are not checked against the input: random weights show something else."""
    with tempfile.TemporaryDirectory() as folder:
        job = ["upscale", str(source), "-o", f"{folder}/upscaled.mkv", "--json", "--no-check", *options]
        planned = _measured(_patchvsr([*job, "--plan"]))
        if "failed" in planned:
            return planned
        found = _measured([sys.executable, __file__, "run", *job])
    expected = {f"planned_{name}": planned[name] for name in ("memory_gib", "device_memory_gib", "seconds")}
    return expected | {name: found[name] for name in ("failed", "wall_s", "host_gib", CUDA_PEAK) if name in found}


def _measured(command: list[str]) -> Row:
    """Run a command; return the last JSON object that it printed, its wall time and its peak of memory."""
    measured = run_measured(command)
    if measured.code != 0:
        return {"failed": measured.last_words(1)}
    objects = [line for line in measured.output.splitlines() if line.startswith("{")]
    said: Row = json.loads(objects[-1]) if objects else {}
    return said | {"wall_s": round(measured.seconds, 1), "host_gib": round(measured.peak_memory_gib, 2)}


def _patchvsr(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "patchvsr.cli.main", *arguments]


def run(arguments: list[str]) -> None:
    """Run the command line in this process, then print the peak of the card's memory."""
    from patchvsr.cli.main import main as patchvsr

    sys.argv = ["patchvsr", *arguments]
    try:
        patchvsr()
    except SystemExit as ended:
        if ended.code:
            raise
    if torch.cuda.is_available():
        print(json.dumps({CUDA_PEAK: round(torch.cuda.max_memory_allocated() / bases.GIB, 2)}))


def plot(base: str, found: list[Row], out: Path) -> None:
    """Plot time and memory of whole jobs over the size of their output."""
    jobs = [row for row in found if row.get("option") == "as it is" and "wall_s" in row]
    for quantity, label in (("wall_s", "seconds"), ("host_gib", "GiB of the host"), (CUDA_PEAK, "GiB of the card")):
        points = [(Size.parse(row["size"]), row[quantity]) for row in jobs if quantity in row]
        curve = [(size.width * size.height / 1e6, value) for size, value in points]
        if len(curve) > 1:
            file = out / f"{base}-{label.replace(' ', '-')}.svg"
            file.write_text(log_plot({base: curve}, "megapixels", label))


def main() -> None:
    """Measure every base that has no results in OUT yet."""
    if sys.argv[1:2] == ["run"]:
        return run(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bases", nargs="+", choices=bases.BASES, default=["wan2.1-1.3b", "wan2.2-5b"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="a toy base at toy sizes, to see that everything runs")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.environ["PATCHVSR_CACHE"] = str(out / "cache")
    for base in ["toy"] if args.toy else args.bases:
        file, found = out / f"{base}.json", []
        if file.exists():
            continue
        partial = file.with_suffix(".partial.json")
        for row in rows(base, args, out):
            found.append(row)
            print(base, json.dumps(row), flush=True)
            partial.write_text(json.dumps({"machine": machine(args.device), "rows": found}, indent=1))
        plot(base, found, out)
        partial.rename(file)


if __name__ == "__main__":
    main()

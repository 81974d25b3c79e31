"""Hash what the package computes, so that two checkouts can be compared: upscales, training runs, an exported model.

python benchmarks/fingerprint.py CLIP [CLIP ...] --work FOLDER > fingerprints.txt

Run it in each checkout on the same machine and compare the two texts with `diff`: a change that claims to be a
refactoring leaves no line different. Videos are hashed as files and as decoded frames; weights as tensors in the order
of their names, so that renamed folders do not matter.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import av
import torch
from safetensors.torch import load_file

SETTINGS = {
    "0 steps": ["--steps", "0"],
    "1 step": ["--steps", "1"],
    "2 steps, every knob": [
        "--steps", "2", "--joint", "shifted", "--seed", "7", "--restoration", "0.5", "--noise", "120",
        "--branch-scale", "0.7", "--no-color-match", "--chunk-frames", "5", "--codec", "ffv1",
    ],
}  # fmt: skip
STAGES = {"autoencoder": ("smoke_codec", "smoke_autoencoder"), "base": ("smoke_base",),
          "adapter": ("smoke_adapter",), "distill": ("smoke_distill",)}  # fmt: skip
TRAINING_STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="New folder for what is made.")
    parser.add_argument("--seconds", default="0.5", help="Of each clip.")
    parser.add_argument("--program", default=f"{Path(sys.executable).with_name('patchvsr')}", help="The command line.")
    options = parser.parse_args()
    options.work.mkdir(parents=True)

    def patchvsr(*words: object) -> str:
        command = [*options.program.split(), *map(str, words)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    # 1. Upscales.
    for clip in options.clips:
        for name, settings in SETTINGS.items():
            output = options.work / f"{clip.stem}, {name}.mkv"
            patchvsr("upscale", clip, "-o", output, "-s", "2", "--end", options.seconds, *settings)
            report(f"{clip.name}, {name}: file", file_hash(output))
            report(f"{clip.name}, {name}: frames", frames_hash(output))

    # 2. Every stage of training, from scratch, on one of the clips; the last one exported.
    data = options.work / "data"
    data.mkdir()
    (data / options.clips[0].name).symlink_to(options.clips[0].resolve())
    places = ["--set", f"data={data}", "--set", f"packed={options.work / 'packed'}",
              "--set", f"output={options.work / 'run'}", "--set", f"steps={TRAINING_STEPS}",
              "--set", "photo_share=0"]  # fmt: skip
    known = patchvsr("recipes")
    for stage, names in STAGES.items():
        recipe = next(name for name in names if name in known)
        patchvsr("train", recipe, *places)
        for file in sorted((options.work / "run" / recipe).rglob("*.safetensors")):
            report(f"training, {stage}: {file.parent.name}/{file.name}", tensors_hash(file))
    model = options.work / "model"
    patchvsr("export", "smoke_distill", "-o", model, *places)
    report("exported: transformer", tensors_hash(*(model / "transformer").glob("*.safetensors")))
    autoencoder = next(model / name for name in ("codec", "vae") if (model / name).is_dir())
    report("exported: autoencoder", tensors_hash(*autoencoder.glob("*.safetensors")))

    # 3. The exported model at work.
    output = options.work / "exported.mkv"
    patchvsr("upscale", options.clips[0], "-o", output, "-s", "2", "--end", options.seconds, "--model", model)
    report("upscaled with the exported model: frames", frames_hash(output))


def report(name: str, digest: str) -> None:
    print(f"{digest[:16]}  {name}", flush=True)


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def frames_hash(path: Path) -> str:
    """Of every video frame's time and pixels."""
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            digest.update(str(frame.pts).encode())
            for plane in frame.planes:
                digest.update(bytes(plane))
    return digest.hexdigest()


def tensors_hash(*files: Path) -> str:
    """Of all tensors, under the names of today: version 0.1.0 called the autoencoder a codec."""
    tensors = {name.replace("codec.", "autoencoder."): t for file in files for name, t in load_file(file).items()}
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()

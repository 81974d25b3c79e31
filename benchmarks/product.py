"""Run PatchVSR from file to file for all benchmarks, through the Python API, with lossless output."""

import argparse
from pathlib import Path
from typing import Any


def upscale_file(source: Path, target: Path, *, steps: int, **settings: Any) -> None:
    """Upscale `source` by 4 into the FFV1 file `target`; `settings` are further fields of `UpscaleSettings`."""
    # Imported here, so that a caller that only measures the memory of this process stays small.
    from patchvsr.jobs.folder import JobFolder
    from patchvsr.settings import UpscaleSettings
    from patchvsr.upscale import upscale

    JobFolder(target).clear()  # otherwise a repeated job would be recognised as done
    config = UpscaleSettings.of(scale=4, num_inference_steps=steps, codec="ffv1", overwrite=True, **settings)
    for _ in upscale(source, target, config):  # progress events
        pass


def main() -> None:
    """Upscale one file; `memory.py` runs this as a separate process."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    args = parser.parse_args()
    upscale_file(args.source, args.target, steps=args.steps)


if __name__ == "__main__":
    main()

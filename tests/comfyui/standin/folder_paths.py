"""Where ComfyUI keeps files; tests set `base`."""

from __future__ import annotations

from pathlib import Path

base = Path()


def get_output_directory() -> str:
    return str(base / "output")


def get_temp_directory() -> str:
    return str(base / "temp")


def get_save_image_path(filename_prefix: str, output_dir: str) -> tuple[str, str, int, str, str]:
    prefix = Path(filename_prefix)
    folder = (Path(output_dir) / prefix.parent).resolve()
    if not folder.is_relative_to(output_dir):
        raise Exception("Saving image outside the output folder is not allowed.")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder), prefix.name, 1, str(prefix.parent), filename_prefix

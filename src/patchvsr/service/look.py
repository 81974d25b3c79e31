"""Look at a file, as a command in a process of its own: `python -m patchvsr.service.look WHAT WORD...`.

    facts FILE                        what it is
    check FILE OUTPUT PRESET [INDEX...]   the same, and whether it can be upscaled so; INDEX: streams to leave out
    still FILE SECONDS LONGEST_SIDE PICTURE   one frame as a small JPEG or lossless PNG

Each prints one JSON object. Errors that a user can fix are one line and exit code 2, as everywhere.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from patchvsr.errors import InputError, PatchVSRError
from patchvsr.files import new_file
from patchvsr.jobs.prepare import expected_frames, prepare
from patchvsr.media import ReadSettings, VideoInfo, open_reader
from patchvsr.media import facts as words_for
from patchvsr.presets import load_preset
from patchvsr.service.commands import USER_ERROR

_NOT_IN_FACTS = {"file"}  # a path of the server


def facts(file: str) -> dict[str, Any]:
    # Only looked at: as stored, even if interlaced.
    with open_reader(file, ReadSettings(deinterlace="off")) as reader:
        return _described(reader.info)


def check(file: str, output: str, preset: str, *skip_streams: str) -> dict[str, Any]:
    settings = load_preset(preset).replaced(skip_streams=tuple(map(int, skip_streams)))
    prepared = prepare(file, output, settings)
    return _described(prepared.info) | {
        "output_size": prepared.size,
        "frames": expected_frames(prepared.info, settings.read),
        "notices": prepared.notices,
    }


def still(file: str, seconds: str, longest_side: str, picture: str) -> dict[str, Any]:
    with open_reader(file, ReadSettings(start_s=float(seconds), deinterlace="off")) as reader:
        _described(reader.info)
        frame = next(iter(reader), None)
        if frame is None:
            raise InputError(f"{file}: has no frame at {seconds} s")
        rgb = frame.rgb if frame.rgb.dtype == np.uint8 else (frame.rgb >> 8).astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(np.rot90(rgb, reader.info.rotation // 90)))
    image.thumbnail((int(longest_side), int(longest_side)))
    with new_file(Path(picture)) as temporary:
        image.save(temporary, format="PNG" if picture.endswith(".png") else "JPEG")
    return {"width": image.width, "height": image.height}


def _described(info: VideoInfo) -> dict[str, Any]:
    """Describe a file as JSON."""
    return {
        "facts": [(name, value) for name, value in words_for.facts(info) if name not in _NOT_IN_FACTS],
        "width": info.width,
        "height": info.height,
        "rotation": info.rotation,
        "duration_s": info.duration_s,
        "frames": info.declared_frames,
        "interlaced": info.interlaced,
        "codec": info.codec,
        "video_stream": info.video_index,
        "streams": [dataclasses.asdict(stream) for stream in info.streams],
    }


def main() -> None:
    what, *words = sys.argv[1:]
    looks: dict[str, Callable[..., dict[str, Any]]] = {"facts": facts, "check": check, "still": still}
    try:
        found = looks[what](*words)
    except PatchVSRError as error:
        sys.stderr.write(" ".join(str(error).splitlines()) + "\n")
        sys.exit(USER_ERROR)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

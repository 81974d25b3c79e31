"""Find the clips to evaluate: outputs, originals and low-quality inputs, matched by name and never silently changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from patchvsr.degradation.lq_set import RECORD, check_lq_set
from patchvsr.errors import InputError
from patchvsr.media import probe
from patchvsr.media.layouts import Role, content_digest, find_all, is_clip, list_clips
from patchvsr.pixels.size import Size

__all__ = ["Clip", "check_clip", "content_digest", "find_clips", "find_set"]

# `--size 1080p` rounds to even sides, so an output may differ this much from the exact enlargement of its input.
ROUNDING_PX = 2


@dataclass(frozen=True)
class Clip:
    """The files of one clip, each a video file or a folder of images, None where there is none.

    name: the names of its folders and of the file, without those that tell a role, such as "000" or "night/000".
    crop: the part of the original that `lq` shows, from the top left corner, if it is not all; as an LQ set records it.
    frames: how many of the first frames of the original `lq` shows, as an LQ set records it.
    """

    name: str
    output: Path | None = None
    original: Path | None = None
    lq: Path | None = None
    crop: Size | None = None
    frames: int | None = None


def find_clips(pred: Path | None, gt: Path | None = None, lq: Path | None = None) -> list[Clip]:
    """Match the clips of folders by name, in the layouts of `patchvsr.media.layouts`; or make one clip of given files.

    pred, gt, lq: outputs, originals and low-quality inputs. A set of `patchvsr degrade` as `lq` is checked by its
        hashes, with its originals if `gt` is given.

    Raises:
        InputError: a folder holds no such clips, names do not match, or a set is not what its record says.
    """
    given = {name: path for name, path in (("output", pred), ("original", gt), ("lq", lq)) if path is not None}
    if all(map(is_clip, given.values())):
        return [Clip(next(iter(given.values())).stem, pred, gt, lq)]
    roles: dict[str, Role | None] = {"output": None, "original": "original", "lq": "lq"}
    sides: dict[str, Mapping[str, Path | None]] = {name: list_clips(path, roles[name]) for name, path in given.items()}
    _refuse_unmatched([(given[name], clips) for name, clips in sides.items()])
    recorded = _recorded(lq, gt)
    names = next(iter(sides.values()))
    output, original, low = (sides.get(side, dict.fromkeys(names)) for side in roles)
    return [
        replace(recorded.get(name, Clip(name)), output=output[name], original=original[name], lq=low[name])
        for name in names
    ]


def find_set(folder: Path, gt: Path | None = None) -> list[Clip]:
    """Return the clips of a set to run methods on, without outputs.

    folder: a set of `patchvsr degrade`, or low-quality clips in any layout, with or without their originals.
    gt: folder of the originals, if they are not in `folder`. Without either, clips have no original.

    Raises InputError as `find_clips` does.
    """
    if gt is None and any(clip.role == "original" for clip in find_all(folder)):
        gt = folder
    return find_clips(None, gt, folder)


def check_clip(clip: Clip) -> None:
    """Refuse sizes that do not fit together, reading headers only.

    An output has the size of its original, or of the recorded part of it. What is enlarged has the proportions of its
    low-quality input.

    Raises:
        InputError: sizes do not fit, or a file cannot be read.
    """
    output, original, lq = (path and _size(path) for path in (clip.output, clip.original, clip.lq))
    wanted = clip.crop if original and clip.crop else original
    if output and wanted and output != wanted:
        part = f" of {original}, of which the input shows {wanted}" if clip.crop else f" of {wanted}"
        raise InputError(
            f"{clip.output} of {output} cannot be compared with {clip.original}{part}: nothing is cropped or resized "
            f"here, so make the output at {wanted}"
        )
    large = output or wanted
    if lq and large and abs(lq.height * large.width / lq.width - large.height) > ROUNDING_PX:
        raise InputError(
            f"{clip.output or clip.original} of {large} has other proportions than its input {clip.lq} of {lq}: one of "
            "them is cropped or padded, so give the files that belong together"
        )


def _size(path: Path) -> Size:
    info = probe(path)
    return Size(info.width, info.height)


def _refuse_unmatched(sides: Sequence[tuple[Path, Mapping[str, Path | None]]]) -> None:
    names = {name for _, clips in sides for name in clips}
    gaps = [
        f"{folder} lacks {', '.join(sorted(names - clips.keys()))}" for folder, clips in sides if names - clips.keys()
    ]
    if gaps:
        raise InputError(f"{'; '.join(gaps)}: clips are matched by name, so rename, add or take away what is alone")


def _recorded(lq: Path | None, gt: Path | None) -> dict[str, Clip]:
    """Return what the record of an LQ set says of its clips by name, after a check; nothing for any other folder."""
    if lq is None or not (lq / RECORD).is_file():
        return {}
    names = {Path(clip.file).with_suffix("").as_posix(): clip.lq for clip in check_lq_set(lq, gt).clips}
    return {name: Clip(name, crop=lq.hq_size if lq.cropped else None, frames=lq.frames) for name, lq in names.items()}

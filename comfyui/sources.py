"""What a VIDEO stands for: a file, a part of a file, or contents in memory, which are written to a file first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths
from comfy_api.latest import InputImpl, io

from patchvsr.errors import InputError
from patchvsr.media import ReadSettings, open_reader


def window(video: io.Video.Type) -> dict[str, float]:
    """Return the time of its file that a video stands for. ComfyUI trims without making a new file."""
    if not hasattr(video, "get_active_trim_window"):  # versions that cannot trim
        return {}
    start_s, duration_s = video.get_active_trim_window()
    end_s = round(start_s + duration_s, 6) if duration_s else 0.0  # 0.2 + 0.4 > 0.6 would be a frame more
    given = {"start_s": start_s, "end_s": end_s}
    return {name: value for name, value in given.items() if value}


def check_whole(video: io.Video.Type, file: Path) -> None:
    """Raise InputError for a file that is no video, or of which the video shows a part that `window` does not tell."""
    with open_reader(file, ReadSettings(deinterlace="off")):
        pass
    if isinstance(video, InputImpl.VideoFromComponents):
        return
    whole = InputImpl.VideoFromFile(str(file))
    (width, height), shown = whole.get_dimensions(), video.get_dimensions()
    parts = [f"{shown[0]}x{shown[1]} of {width}x{height}"] if shown != (width, height) else []
    if not hasattr(video, "get_active_trim_window") and video.get_duration() != whole.get_duration():
        parts.append(f"{video.get_duration():g} of {whole.get_duration():g} s")
    if parts:
        raise InputError(
            f"the VIDEO shows a part of its file only ({', '.join(parts)}): save it with Save Video and load that file"
        )


@contextmanager
def source_file(video: io.Video.Type) -> Iterator[Path]:
    """Yield the file of a video.

    Contents in memory are written into ComfyUI's temporary folder. They stay there until the job is finished, because
    ComfyUI would encode the same frames to other bytes the next time, and the job could not go on with them.
    """
    if isinstance(video, InputImpl.VideoFromComponents):  # some versions can save them to a path only
        with _kept(_digest_of_frames(video), lambda file: video.save_to(str(file))) as file:
            yield file
        return
    source = video.get_stream_source()
    if isinstance(source, str):
        yield Path(source)
    else:
        content = source.getvalue()  # shared with the source, not copied
        with _kept(hashlib.sha256(content).hexdigest(), lambda file: file.write_bytes(content)) as file:
            yield file


@contextmanager
def _kept(digest: str, write: Callable[[Path], object]) -> Iterator[Path]:
    """Yield a file that is written unless it is there, and removed when nothing was raised."""
    folder = Path(folder_paths.get_temp_directory()) / "patchvsr"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{digest}.mp4"  # whatever it holds
    if not file.exists():
        unfinished = file.with_suffix(".unfinished.mp4")
        write(unfinished)
        unfinished.replace(file)
    yield file
    file.unlink()


def _digest_of_frames(video: io.Video.Type) -> str:
    components = video.get_components()  # in memory already
    digest = hashlib.sha256(str(components.frame_rate).encode())
    sound = components.audio["waveform"] if components.audio else ()
    for part in (*components.images, *sound):
        digest.update(part.cpu().contiguous().numpy())
    return digest.hexdigest()

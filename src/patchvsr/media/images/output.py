"""Write an image sequence: every encoded frame becomes one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from patchvsr import files
from patchvsr.media.contents import Contents, image_contents
from patchvsr.media.encoders import alpha_notice
from patchvsr.media.frames import Frame
from patchvsr.media.images.files import SEQUENCE, check_image_format, encode_image
from patchvsr.media.images.names import DEFAULT_PATTERN, image_name, matching_images, output_images, split_pattern
from patchvsr.media.images.read_back import image_decoder
from patchvsr.media.info import VideoInfo
from patchvsr.media.output import FrameTimes, Output
from patchvsr.media.segment import EncodedFrame, FrameDecoder, FrameEncoder
from patchvsr.pixels.size import Size


class ImageOutput(Output):
    """Images numbered from 1; a name without a placeholder holds exactly one frame. Frame times are dropped."""

    def __init__(self, path: Path, *, source: VideoInfo, size: Size) -> None:
        self.path, self._source, self._size = path, source, size
        self._folder, pattern = split_pattern(path)
        self._pattern = pattern or DEFAULT_PATTERN
        self._suffix = Path(self._pattern).suffix.lower()
        check_image_format(self._suffix)
        self.profile = {"images": self._pattern, "bit_depth": source.bit_depth}
        self.notices = tuple(_notices(source, self._suffix))

    def rehearse(self, frames: int) -> None:
        image_name(self._pattern, frames)

    def encoder(self) -> FrameEncoder:
        return ImageEncoder(self._suffix, self._source, self._size)

    def assemble(self, frames: Iterable[EncodedFrame], times: FrameTimes, *, reorder: int, folder: Path) -> Contents:
        temporary = folder / "images"
        with files.reported(self.path, lambda: self.discard(folder)):
            self.discard(folder)
            temporary.mkdir(exist_ok=True)
            names = [image_name(self._pattern, number + 1) for number in range(len(times.pts))]
            for frame in frames:
                (temporary / names[frame.order]).write_bytes(frame.data)
            return image_contents([temporary / name for name in names])

    def publish(self, folder: Path) -> None:
        with files.reported(self.path, lambda: None):
            files.make_folder(self._folder)
            images = matching_images(folder / "images", self._pattern)
            files.move_files(images, self._folder)
            self.discard(folder)
            new = {file.name for file in images}
            for file in output_images(self.path):  # left over from a longer sequence that is replaced
                if file.name not in new:
                    file.unlink()

    def discard(self, folder: Path) -> None:
        temporary = folder / "images"
        for file in matching_images(temporary, self._pattern):
            file.unlink()
        with suppress(OSError):
            temporary.rmdir()


def _notices(source: VideoInfo, suffix: str) -> Iterator[str]:
    """Yield lines for the user about what images cannot hold."""
    alpha = alpha_notice(source, suffix[1:], "rgba")
    if alpha is not None:
        yield alpha
    if source.container == SEQUENCE:
        return
    yield "not carried: times, chapters and tags: images have none; keep the source to put them back"
    for stream in source.streams:
        if stream.index != source.video_index:
            yield f"not copied: {stream}: images hold no other streams"
    if source.rotation:
        yield f"not carried: rotation by {source.rotation} degrees: images have none"
    if suffix == ".png" and source.sample_aspect_ratio not in (None, 0, 1):
        yield f"not carried: pixel shape {source.sample_aspect_ratio}: PNG images here have none"
    if source.hdr is not None:
        yield "not carried: HDR10 mastering display and light levels: images have no place for them"
    for what in source.lost_side_data:
        yield f"not carried: {what}"


class ImageEncoder(FrameEncoder):
    """Encode every frame as one image, without delay or reordering."""

    def __init__(self, suffix: str, source: VideoInfo, size: Size) -> None:
        self._suffix, self._source, self._size = suffix, source, size
        self._count = 0

    def encode(self, frame: Frame) -> list[EncodedFrame]:
        width, height = self._size
        if frame.rgb.shape != (height, width, 3):
            raise ValueError(f"frame is {frame.rgb.shape}, the output was opened for {(height, width, 3)}")
        self._count += 1
        data = encode_image(frame.rgb, self._suffix, alpha=frame.alpha, source=self._source)
        return [EncodedFrame(self._count - 1, True, data)]

    def finish(self) -> list[EncodedFrame]:
        return []

    def decoder(self) -> FrameDecoder | None:
        return image_decoder(self._suffix, self._source)

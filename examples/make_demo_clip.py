"""Make a small clip with audio from camera moves over photos of scikit-image. Nothing is downloaded.

python examples/make_demo_clip.py demo.mp4
python examples/make_demo_clip.py cut.mp4 --photo astronaut coffee     a hard cut in the middle
python examples/make_demo_clip.py vfr.mp4 --vfr                        frames of uneven length
python examples/make_demo_clip.py eye.mp4 --photo retina --hq eye_hq.mkv

The clip is rendered at a larger size and downscaled by 4 with antialiasing. `--hq` also writes the larger rendering
losslessly, as the original to compare with. It is refused if the photo is too small to give real detail at that size.
"""

import argparse
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from torch import Tensor

from patchvsr.degradation.lq_file import bicubic_reduce
from patchvsr.errors import PatchVSRError, SettingsError
from patchvsr.evaluation.synthetic import PHOTOS, camera_move, load_photo, sampling_density
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.tensors import to_array
from patchvsr.pixels.size import Size

FPS = 24
SAMPLE_RATE = 48_000
BT709 = 1
# MP4 keeps durations in decoding order: without B-frames each frame keeps its own.
H264 = {"crf": "14", "bf": "0"}


def render(photos: list[str], size: Size, frames: int) -> Iterator[Tensor]:
    """Yield frames (3, height, width): one camera move per photo, with equal shares."""
    for index, name in enumerate(photos):
        share = frames * (index + 1) // len(photos) - frames * index // len(photos)
        yield from camera_move(load_photo(name), size, share)


def frame_times(frames: int, *, vfr: bool) -> list[Fraction]:
    """Return frame start times in seconds, and the end of the last; `vfr` makes every third 2.5 times as long."""
    times = [Fraction(0)]
    for index in range(frames):
        times.append(times[-1] + Fraction(5 if vfr and index % 3 == 2 else 2, 2 * FPS))
    return times


def check_detail(photos: list[str], size: Size) -> None:
    """Raise SettingsError if the original would be an upscaled photo."""
    for name in photos:
        photo = Size.of(load_photo(name))
        if sampling_density(photo, size) < 1:
            raise SettingsError(
                f"--hq at {size} would magnify {name} ({photo}); "
                "use --photo retina, a smaller --size or a smaller --scale"
            )


def chord(duration_s: float) -> np.ndarray:
    """Return a soft major chord that fades in and out, slightly detuned stereo, (2, samples) float32."""
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    envelope = np.sin(np.pi * t / duration_s) ** 2
    pitches = np.array([[220.0, 277.2, 329.6], [220.7, 277.9, 330.3]])  # Hz, left and right
    voices = np.sin(2 * np.pi * pitches[..., None] * t)  # (2, 3, samples)
    return (0.12 * envelope * voices.sum(axis=1)).astype(np.float32)


def write_audio(container: OutputContainer, samples: np.ndarray) -> None:
    """Encode `samples` as AAC into the container's audio stream."""
    stream = container.streams.audio[0]
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_clip(path: Path, frames: Iterator[Tensor], size: Size, times: list[Fraction]) -> None:
    """Write an MP4 (H.264, AAC, BT.709) with the exact timestamp and duration of every frame."""
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options=H264)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        codec = video.codec_context
        codec.time_base = Fraction(1, 1000 * FPS)
        codec.colorspace = codec.color_primaries = codec.color_trc = BT709
        container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for frame, start, end in zip(frames, times, times[1:], strict=False):
            picture = av.VideoFrame.from_ndarray(to_array(frame), format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
            picture.time_base = codec.time_base
            picture.pts, picture.duration = int(start / codec.time_base), int((end - start) / codec.time_base)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        write_audio(container, chord(float(times[-1])))


def make(args: argparse.Namespace) -> None:
    """Render the clip and write its downscaled version and, if requested, the original."""
    size = Size(*args.size)
    hq_size = size.scaled(args.scale)
    times = frame_times(args.frames, vfr=args.vfr)
    hq_frames = render(args.photo, hq_size, args.frames)
    if args.hq is not None:
        check_detail(args.photo, hq_size)
        hq_frames = kept(hq_frames, times, args.hq)
    lq_frames = (bicubic_reduce(frame[None], args.scale)[0] for frame in hq_frames)
    write_clip(args.output, lq_frames, size, times)


def kept(frames: Iterator[Tensor], times: list[Fraction], path: Path) -> Iterator[Tensor]:
    """Write frames losslessly to `path` and pass them on."""
    with LosslessWriter(path) as writer:
        for frame, time_s in zip(frames, times, strict=False):
            writer.write(frame, time_s)
            yield frame


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path, help="MP4 file to write")
    parser.add_argument("--photo", nargs="+", choices=PHOTOS, default=["astronaut"])
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), default=[320, 180])
    parser.add_argument("--scale", type=int, default=4, help="size of the original relative to the clip")
    parser.add_argument("--frames", type=int, default=48, help=f"at {FPS} per second")
    parser.add_argument("--vfr", action="store_true", help="frames of uneven length")
    parser.add_argument("--hq", type=Path, help="also write the original, as lossless .mkv")
    try:
        make(parser.parse_args())
    except PatchVSRError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()

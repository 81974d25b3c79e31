"""Demo for `make demo`: make a clip with audio, upscale it x4 with the bundled model, and draw before and after.

python examples/demo.py [FOLDER]
"""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np

CROP = (260, 420, 280)  # top, left, side of the square that is shown, in output pixels


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    small, large, picture = folder / "small.mp4", folder / "large.mkv", folder / "before_after.png"
    maker = Path(__file__).with_name("make_demo_clip.py")
    run(sys.executable, maker, small, "--photo", "astronaut", "coffee", "--frames", "24")  # a second, with a cut
    run(Path(sys.executable).with_name("patchvsr"), "upscale", small, "-o", large, "--overwrite")
    before_after(small, large, picture)
    print(f"\nwatch {large}; the picture {picture} shows bicubic on the left, PatchVSR on the right")


def run(*command: object) -> None:
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    subprocess.run(words, check=True)


def before_after(small: Path, large: Path, picture: Path) -> None:
    """Write the same crop of the first frame, bicubic and restored, side by side."""
    restored = first_frame(large)
    height, width = restored.shape[:2]
    bicubic = first_frame(small, (width, height))
    top, left, side = CROP
    pair = [frame[top : top + side, left : left + side] for frame in (bicubic, restored)]
    row = np.concatenate(pair, axis=1).repeat(2, axis=0).repeat(2, axis=1)
    with av.open(str(picture), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = row.shape[1], row.shape[0], "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(row), format="rgb24")))
        container.mux(stream.encode(None))


def first_frame(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    width, height = size or (frame.width, frame.height)
    return frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))

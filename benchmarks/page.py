"""Show the page of the service in all its states, and measure how long people wait for it.

python benchmarks/page.py runs/page

A clip is made, sent, looked at, upscaled and compared in Chromium; each state is kept as a picture.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browsing import HANGS_AFTER_MS, PLAY, Window, chromium, window
from playwright.sync_api import Page, expect
from service import running

ROOT = Path(__file__).resolve().parents[1]
WIDE, NARROW = {"width": 1000, "height": 700}, {"width": 360, "height": 740}
# Resolved when both players show the moment that was chosen.
SHOWN = """async () => {
    const players = [...document.querySelectorAll("video")];
    while (players.some((player) => player.seeking || player.readyState < 2)) await new Promise(requestAnimationFrame);
}"""
SETTLED_S = 0.5  # of a comparison: until then the players start


class Album:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, page: Page, name: str) -> None:
        """Keep a picture of the whole page: photos as JPEG, plain areas as PNG."""
        for suffix, options in ((".png", {}), (".jpg", {"quality": 72})):
            page.screenshot(path=self._folder / f"{name}{suffix}", full_page=True, **options)
        larger = max(
            (self._folder / f"{name}{suffix}" for suffix in (".png", ".jpg")), key=lambda file: file.stat().st_size
        )
        larger.unlink()


def opening(opened: Window) -> Page:
    """Open the page five times, each in a new tab, and return the last."""
    seconds = []
    for _ in range(5):
        started_at = time.monotonic()
        page = opened.open()
        seconds.append(time.monotonic() - started_at)
        if len(seconds) < 5:
            page.close()
    rest = statistics.median(seconds[1:])
    print(
        f"opened and connected after {seconds[0]:.2f} s, then with its files at hand after {rest:.2f} s (median of 4)"
    )
    return page


def looking(page: Page, clip: Path, album: Album) -> None:
    """Choose the clip and look at a part of it at once; then its facts and the estimate."""
    chosen_at = time.monotonic()
    page.locator("#file").set_input_files(clip)
    expect(page.locator("#source .name")).to_have_text(clip.name)
    facts_at = time.monotonic()
    page.get_by_text("Look first").click()
    expect(page.locator(".cropper img")).not_to_have_js_property("naturalWidth", 0)
    still_at = time.monotonic()
    page.get_by_role("button", name="Show before and after").click()
    expect(page.locator(".preview-result img").first).not_to_have_js_property("naturalWidth", 0)
    times = [moment - chosen_at for moment in (facts_at, still_at, time.monotonic())]
    print("after the choice of a file: facts after {:.1f} s, a still {:.1f} s, the preview {:.1f} s".format(*times))
    album.keep(page, "preview")

    page.get_by_text("Look first").click()
    page.get_by_text("What it is").click()
    page.get_by_role("button", name="How long will it take?").click()
    expect(page.locator(".estimate-result")).to_contain_text("frames of")
    album.keep(page, "chosen")


def upscaling(page: Page, album: Album, frames: int) -> None:
    """Start, wait for the middle and for the end."""
    started_at = time.monotonic()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    print(f"from the click on Start to a job that runs: {time.monotonic() - started_at:.1f} s")
    state = page.locator(".state").first
    expect(state).to_contain_text("left")
    print(f"from the click on Start to the first restored frames: {time.monotonic() - started_at:.1f} s")
    album.keep(page, "running")
    expect(state).to_contain_text(f"done, {frames} frames", timeout=10 * HANGS_AFTER_MS)
    print(f"{frames} frames, from the click on Start to the end: {time.monotonic() - started_at:.0f} s")


def comparing(page: Page, album: Album) -> None:
    page.get_by_role("button", name="Report").click()
    expect(page.locator(".details dl")).to_be_visible()
    album.keep(page, "done")
    page.get_by_role("button", name="Compare").click()
    steps = page.evaluate(PLAY, 0)
    apart = [abs(ahead) * 1000 for at, ahead in steps if at > SETTLED_S]
    print(
        f"players apart, {len(apart)} pictures of {steps[-1][0]:.1f} s from {SETTLED_S} s on: "
        f"median {statistics.median(apart):.0f} ms, at most {max(apart):.0f} ms; "
        f"at the end {abs(steps[-1][1]) * 1000:.0f} ms"
    )
    page.get_by_label("Time").fill("0.5")
    page.evaluate(SHOWN)
    album.keep(page, "compare")
    page.emulate_media(color_scheme="dark")
    album.keep(page, "dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(NARROW)
    album.keep(page, "narrow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder for the pictures")
    parser.add_argument("--frames", type=int, default=48, help="of the clip, 24 a second")
    chosen = parser.parse_args()
    album = Album(chosen.output)
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "astronaut.mp4"
        maker = ROOT / "examples" / "make_demo_clip.py"
        subprocess.run([sys.executable, maker, clip, "--frames", str(chosen.frames)], check=True)
        with (
            running("--data", Path(name) / "data") as (client, _),
            chromium() as browser,
            window(browser, str(client.base_url).rstrip("/"), viewport=WIDE) as opened,
        ):
            page = opening(opened)
            expect(page.locator("#no-jobs")).to_be_visible()
            album.keep(page, "empty")
            looking(page, clip, album)
            upscaling(page, album, chosen.frames)
            comparing(page, album)


if __name__ == "__main__":
    main()

"""The page of a real service in a real Chromium: from a file to the comparison of a finished job.

Most of the time is spent on loading libraries: for a preview, and for a job that is cancelled and killed on its way.
"""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")

from browsing import CHROMIUM, HANGS_AFTER_MS, PLAY, chromium, controls, pale, too_wide, window
from clips import make_video
from playwright.sync_api import Browser, Page, Route, expect
from servicing import Served

from patchvsr.presets import save_preset
from patchvsr.settings import UpscaleSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine: apt-get install chromium"),
]
FRAME_MS = 60  # so that few frames play long enough
FRAMES = 27  # three units
SETTINGS = UpscaleSettings.of(chunk_frames=5, unit_frames=9, num_inference_steps=0)
NARROW = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    save_preset(SETTINGS, folder / "small.toml")
    pts = [FRAME_MS * index for index in range(FRAMES)]
    make_video(folder / "clip.mp4", pts=pts, size=(64, 48), audio=True)
    return folder


@pytest.fixture(scope="module")
def served(folder) -> Iterator[Served]:
    served = Served(folder, "--preset", folder / "small.toml")
    yield served
    served.kill()


@pytest.fixture
def service(served) -> Iterator[Served]:
    """The service of all tests. What a test leaves in it is removed, so that a failure stays alone."""
    yield served
    for kind in ("jobs", "uploads"):
        address = f"{served.address}/api/{kind}"
        for left in httpx.get(address).json():
            httpx.delete(f"{address}/{left['id']}", timeout=60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def drop(page: Page, path: Path) -> None:
    """Drop a file beside the field that is meant for it: the browser must not leave the page for it."""
    content = base64.b64encode(path.read_bytes()).decode()
    dropped = page.evaluate_handle(
        """([name, content]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(content), (byte) => byte.charCodeAt(0))], name));
            return data;
        }""",
        [path.name, content],
    )
    page.locator("h1").dispatch_event("drop", {"dataTransfer": dropped})


def choose(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(path)
    expect(page.get_by_role("heading", name=path.name)).to_be_visible()


def check_everything_fits_and_has_a_name(page: Page) -> None:
    assert [role for role, name in controls(page) if not name] == []
    size = page.viewport_size
    page.set_viewport_size(NARROW)
    assert too_wide(page) == []
    page.set_viewport_size(size)


def test_a_job_from_a_drop_to_the_comparison(folder, service, browser, patchvsr):
    clip, whole = folder / "clip.mp4", folder / "whole.mp4"
    done = patchvsr("upscale", clip, "-o", whole, "--preset", folder / "small.toml", "--scale", 2, "--device", "cpu")
    assert done.returncode == 0, done.stderr

    with window(browser, service.address) as opened:
        page = opened.open()
        expect(page.locator("#no-jobs")).to_be_visible()
        check_everything_fits_and_has_a_name(page)

        # 1. A video, and what it is.
        drop(page, clip)
        expect(page.locator("#source .summary")).to_contain_text("64 × 48 pixels, H264, 1 sound track")
        page.locator("[name=size]").select_option("2 times as wide and high")
        page.locator("[name=container]").select_option("MP4: plays nearly everywhere")

        # 2. One moment of it, before and after.
        page.get_by_text("Look first").click()
        expect(page.locator(".cropper img")).to_have_js_property("naturalWidth", 64)
        page.get_by_role("button", name="Show before and after").click()
        boundary = page.get_by_label("Boundary between before and after")
        expect(boundary).to_be_visible()
        boundary.press("Home")
        assert page.locator(".compare").evaluate("box => box.style.getPropertyValue('--at')") == "0%"
        check_everything_fits_and_has_a_name(page)

        with page.expect_response("**/api/still*") as last:
            page.get_by_label("Moment").press("End")
        assert last.value.ok

        # 3. Start, reload, and look in another tab.
        page.get_by_role("button", name="Start").click()
        job = page.locator(".job")
        expect(job).to_be_visible()
        page.reload()
        other = opened.open()
        for tab in (page, other):
            expect(tab.locator(".job h3")).to_have_text("clip.mp4")
            expect(tab.get_by_role("progressbar")).to_be_visible()
        check_everything_fits_and_has_a_name(page)

        # 4. Kill the service in the middle of the job, and start it again.
        id = job.get_attribute("data-id")
        first_unit = folder / "data" / "jobs" / id / "output.mp4.job" / "unit-00000.json"
        with httpx.stream("GET", f"{service.address}/api/jobs/{id}/events", timeout=HANGS_AFTER_MS / 1000) as events:
            for _ in events.iter_lines():
                if first_unit.exists():
                    break
        opened.fails = True
        service.kill()
        assert not (first_unit.parent / "result.json").exists()
        expect(page.locator("#connection")).to_have_text("no connection to the service; trying again")
        service.start()
        for tab in (page, other):
            expect(tab.locator("#connection")).to_be_empty()
            expect(tab.locator(".state")).to_have_text(f"done, {FRAMES} frames · 64 × 48 → 128 × 96")
        opened.fails = False

        # 5. The result: the bytes of an undisturbed run, its report, and both videos in step.
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert download.value.suggested_filename == "clip_128x96.mp4"
        assert sha256(download.value.path()) == sha256(whole)
        page.get_by_role("button", name="Report").click()
        expect(job.locator(".details")).to_contain_text(f"{FRAMES}, in 1 shot")
        page.get_by_role("button", name="Compare").click()
        steps = page.evaluate(PLAY, 0.2)
        assert statistics.median(abs(ahead) for time, ahead in steps if time > 1.2) < 0.1
        assert abs(steps[-1][1]) < 0.002
        check_everything_fits_and_has_a_name(page)

        # 6. Gone in both tabs.
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete").click()
        for tab in (page, other):
            expect(tab.locator("#no-jobs")).to_be_visible()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_everything_works_by_keyboard(folder, service, browser):
    with window(browser, service.address) as opened:
        page = opened.open()
        page.on("dialog", lambda dialog: dialog.accept())
        page.on("filechooser", lambda chooser: chooser.set_files(folder / "clip.mp4"))

        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#source .name")).to_be_focused()
        for name, focused in (
            ("Start", "Videos"), ("Cancel: clip.mp4", "clip.mp4"), ("Go on: clip.mp4", "clip.mp4"),
            ("Delete: clip.mp4", "Videos"),
        ):  # fmt: skip
            expect(page.get_by_role("button", name=name)).to_be_visible()
            tab_to(page, name)
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name=focused, exact=True)).to_be_focused()
        expect(page.locator("#no-jobs")).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until a button has the focus: no way from one step to the next is longer than the form."""
    for _ in range(25):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent") == name:
            return
    raise AssertionError(f"no way to {name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(folder, service, browser, scheme):
    with window(browser, service.address, color_scheme=scheme) as opened:
        page = opened.open()
        choose(page, folder / "clip.mp4")
        for details in page.locator("#source details").all():
            details.evaluate("details => { details.open = true; }")
        assert pale(page) == []
        check_everything_fits_and_has_a_name(page)
        page.get_by_role("button", name="Discard").click()
        expect(page.locator("#source")).to_be_hidden()


@pytest.mark.parametrize("late", ["[]", '[{"id"'], ids=["old", "cut off"])
def test_a_late_answer_does_not_replace_a_newer_one(folder, service, browser, late):
    jobs = f"{service.address}/api/jobs"
    with window(browser, service.address) as opened:
        page, other, held = opened.open(), opened.open(), []
        expect(page.locator("#no-jobs")).to_be_visible()
        page.route("**/api/jobs", lambda route: route.continue_() if held else held.append(route))
        with page.expect_request("**/api/jobs"):
            id = httpx.post(jobs, json={"input": str(folder / "clip.mp4")}, timeout=60).json()["id"]
        httpx.post(f"{jobs}/{id}/cancel").raise_for_status()
        expect(other.locator(".state")).to_contain_text("cancelled")
        with page.expect_response("**/api/jobs"):
            held[0].fulfill(body=late, content_type="application/json")
        expect(page.locator(".state")).to_contain_text("cancelled")


def test_events_are_followed_while_the_page_is_visible_and_again_after_a_failure(service, browser):
    """A browser has six connections to a service: hidden tabs must not use them up."""
    with window(browser, service.address) as opened:
        page, failures = opened.open(), iter([502])
        page.route("**/api/events*", lambda route: fail_once(route, failures))
        with page.expect_event("requestfailed", lambda request: "/api/events" in request.url):
            page.evaluate(
                "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
                "document.dispatchEvent(new Event('visibilitychange'))"
            )
        opened.fails = True
        with page.expect_response(lambda response: "/api/events" in response.url and response.ok):
            page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator("#connection")).to_be_empty()


def fail_once(route: Route, failures: Iterator[int]) -> None:
    status = next(failures, None)
    route.continue_() if status is None else route.fulfill(status=status)


def test_a_file_that_is_no_video_is_refused_and_can_be_chosen_again(tmp_path, service, browser):
    (tmp_path / "film.mp4").write_bytes(b"no video")
    with window(browser, service.address) as opened:
        page, opened.fails = opened.open(), True
        for _ in range(2):
            with page.expect_response("**/api/uploads/*"):
                page.locator("#file").set_input_files(tmp_path / "film.mp4")
            expect(page.locator("#source-error")).to_contain_text("film.mp4: not a readable media file")
            assert page.locator("#file").input_value() == ""  # else the browser would not see a change

"""Drive the page of the service in Chromium, and see what it must never do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HANGS_AFTER_MS = 120_000  # never the reason why a test fails, only why a hung one ends
# Roles of what people use or look at, as Chromium names them.
CONTROLS = {
    "button", "checkbox", "combobox", "image", "link", "progressbar", "radio", "slider", "spinbutton", "textbox",
    "DisclosureTriangle", "Video",
}  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of this machine; playwright brings none of its own."""
    expect.set_options(timeout=HANGS_AFTER_MS)
    with sync_playwright() as playwright:
        # In a container, Chromium's own sandbox needs rights that tests do not have.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """Tabs of one browser on the page, and what went wrong in any of them: errors, and requests to elsewhere."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self._context, self._address = context, address
        self.wrong: list[str] = []
        self.fails = False  # requests fail now, and the browser may say so
        context.set_default_timeout(HANGS_AFTER_MS)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.wrong.append(f"error: {error.error}"))
        context.on("request", self._request)

    def open(self) -> Page:
        page = self._context.new_page()
        page.goto(self._address)
        expect(page.locator("#connection")).to_be_empty()
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (self.fails and "Failed to load resource" in message.text):
            self.wrong.append(f"{message.type}: {message.text} {message.location}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self._address}/", "data:", "blob:")):
            self.wrong.append(f"a request to {request.url}")


@contextmanager
def window(browser: Browser, address: str, **options: Any) -> Iterator[Window]:
    """A window with a memory of its own, in which nothing may go wrong."""
    with browser.new_context(**options) as context:
        opened = Window(context, address)
        yield opened
        assert not opened.wrong


def controls(page: Page) -> list[tuple[str, str]]:
    """Role and name of everything that assistive technology can find to use."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in CONTROLS]
    return [(node["role"]["value"], node.get("name", {}).get("value", "").strip()) for node in shown]


def too_wide(page: Page) -> list[str]:
    """What makes the page scroll sideways or is cut off at the edge of the screen."""
    return page.evaluate("""() => {
        const visible = [...document.body.querySelectorAll("*")].filter((element) =>
            element.checkVisibility() && !element.closest(".side, .cropper, .visually-hidden"));
        const wide = visible.filter((element) => {
            const { left, right } = element.getBoundingClientRect();
            return left < -0.5 || right > document.documentElement.clientWidth + 0.5;
        }).map((element) => element.outerHTML.slice(0, 100));
        const { scrollWidth, clientWidth } = document.documentElement;
        return scrollWidth > clientWidth ? [`${scrollWidth} px of ${clientWidth}`, ...wide] : wide;
    }""")


def pale(page: Page) -> list[str]:
    """Texts with a contrast below 4.5 to 1 (WCAG 2.2, 1.4.3) to what is behind them."""
    return page.evaluate("""() => {
        const parsed = (color) => color.match(/[\\d.]+/g).map(Number);
        const luminance = (color) => {
            const [r, g, b] = parsed(color).slice(0, 3).map((value) => value / 255)
                .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = (element) => {
            for (let place = element; place; place = place.parentElement) {
                const color = getComputedStyle(place).backgroundColor;
                if ((parsed(color)[3] ?? 1) === 1) return color;
            }
        };
        const found = [];
        const check = (element, color, text) => {
            const [less, more] = [luminance(color), luminance(behind(element))].sort((a, b) => a - b);
            const ratio = (more + 0.05) / (less + 0.05);
            if (ratio < 4.5) found.push(`${ratio.toFixed(1)}: ${text}`);
        };
        for (const element of document.body.querySelectorAll("*:not(:disabled)")) {
            if (!element.checkVisibility() || element.closest(".tag, .visually-hidden, option")) continue;
            const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
            const text = own.map((node) => node.data).join("").trim() || element.value;
            if (text) check(element, getComputedStyle(element).color, text);
            const hint = element.placeholder;
            if (hint) check(element, getComputedStyle(element, "::placeholder").color, hint);
        }
        return found;
    }""")


# Plays a comparison to its end, with the input pushed ahead by some seconds at the beginning.
# Each picture: time of the output, and how far the input is ahead of it.
PLAY = """async (push) => {
    const [after, before] = document.querySelectorAll(".compare video");
    const button = [...document.querySelectorAll(".details button")].find((found) => found.textContent === "Play");
    const steps = [];
    const ended = new Promise((resolve) => { after.onended = resolve; });
    const note = () => {
        steps.push([after.currentTime, before.currentTime - after.currentTime]);
        requestAnimationFrame(note);
    };
    await new Promise((resolve) => { after.addEventListener("playing", resolve, { once: true }); button.click(); });
    if (push) before.currentTime += push;
    note();
    await ended;
    await new Promise(requestAnimationFrame);
    return [...steps, [after.currentTime, before.currentTime - after.currentTime]];
}"""

"""The documentation as a site: it builds without a complaint, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site. A dead link, a missing anchor or a name that the API page cannot find is a failure."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_there_and_nothing_comes_from_elsewhere(site):
    pages = {page.relative_to(site).as_posix(): page.read_text("utf-8") for page in site.rglob("*.html")}
    written = {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")}
    assert {"index.html", "use.html", "source/CHANGELOG.html"} | written <= pages.keys()
    for name, text in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\s\">]+)|<link[^>]* href=\"?([^\s\">]+)", text)
        assert not [url for pair in loaded for url in pair if re.match(r"(\w+:)?//", url)], name


@pytest.mark.slow
def test_signatures_and_proofs_are_shown(site):
    api = re.sub(r"<[^>]+>", "", (site / "api.html").read_text("utf-8"))
    assert "RestoreSettings(" in api and "restoration: float | None = None" in api and "setting(" not in api
    linked = re.findall(r'href="(source/[^"#]+)', (site / "faq.html").read_text("utf-8"))
    assert len(linked) > 30 and all((site / path).is_file() for path in linked)

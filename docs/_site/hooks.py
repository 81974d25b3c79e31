"""Make one site of the README, the pages in docs/ and the files that they link to.

Pages are written for a repository: they link to README.md and to files beside docs/. Here each section of the README
becomes a page, and a linked file becomes a page that shows it, so no text is kept twice and no link leaves the site.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Page of each section of the README; what stands before the first one has no name.
SECTIONS = {
    "": "index.md",
    "Commands": "index.md",
    "Use": "use.md",
    "Train": "index.md",
    "Evaluate": "index.md",
    "Numbers": "numbers.md",
    "What does not work yet": "limits.md",
    "The tree": "tree.md",
}
_LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]*)(#[^)\s]*)?(\))")
_FROM_NAVIGATION = re.compile(r"'source/(\S+\.md)'")
_CODE = re.compile(r"^(`{3,}).*?^\1$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the README, and of all files that are linked from any page."""
    for name, text in _readme_pages().items():
        files.append(File.generated(config, name, content=text))
    shown: set[str] = set()
    pages = [(_in_repository(file.src_uri), file.content_string) for file in files.documentation_pages()]
    wanted = set(_FROM_NAVIGATION.findall(str(config.nav))).union(*(_linked(*page) for page in pages))
    while wanted:
        path = wanted.pop()
        shown.add(path)
        text = _shown(path)
        files.append(File.generated(config, _in_site(path), content=text))
        wanted |= set(_linked(path, text)) - shown
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to the pages that files of the repository have here."""
    source = _in_repository(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        opening, target, anchor, closing = link.groups("")
        path = _path(source, target)
        name, anchor = _readme_page(anchor) if path == "README.md" else (_in_site(path), anchor)
        return f"{opening}{posixpath.relpath(name, posixpath.dirname(page.file.src_uri))}{anchor}{closing}"

    return _outside_code(markdown, moved)


def _readme_pages() -> dict[str, str]:
    """Split the README into pages by its sections. A page of one section has its heading as title."""
    parts = re.split(r"^## (.+)$", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    found = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    if found.keys() != SECTIONS.keys():
        raise PluginError(f"sections of README.md without a page, or gone: {sorted(found.keys() ^ SECTIONS.keys())}")
    pages: dict[str, str] = {}
    for section, text in found.items():
        name = SECTIONS[section]
        heading = "" if not section else f"## {section}" if name in pages else f"# {section}"
        pages[name] = pages.get(name, "") + heading + text
    return pages


def _readme_page(anchor: str) -> tuple[str, str]:
    """Return page and anchor of a link into the README."""
    slugs = {"#" + section.lower().replace(" ", "-"): name for section, name in SECTIONS.items() if section}
    if anchor and anchor not in slugs:
        raise PluginError(f"README.md has no section {anchor}: link to one of {', '.join(slugs)}")
    return (slugs[anchor], anchor) if anchor else ("index.md", "")


def _shown(path: str) -> str:
    """Return a file of the repository as a page: Markdown as it is, anything else as text."""
    file = ROOT / path
    if not file.is_file():
        raise PluginError(f"{path} does not exist, but a page links to it")
    text = file.read_text("utf-8")
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n````{_LANGUAGES.get(file.suffix, 'text')}\n{text}````\n"


def _linked(source: str, markdown: str) -> Iterator[str]:
    """Yield the files beside docs/ to which a page links, as paths in the repository."""
    found: list[str] = []

    def note(link: re.Match[str]) -> str:
        found.append(_path(source, link[2]))
        return link[0]

    _outside_code(markdown, note)
    yield from (path for path in found if path != "README.md" and not path.startswith("docs/"))


def _outside_code(markdown: str, change: Callable[[re.Match[str]], str]) -> str:
    """Apply `change` to every link of a page that is not in code."""
    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(change, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _LINK.sub(change, markdown[end:])])


def _path(source: str, target: str) -> str:
    """Return the path in the repository to which a file of it links."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target)) if target else source


def _in_repository(name: str) -> str:
    """Return where a page of the site comes from."""
    if name in SECTIONS.values():
        return "README.md"
    return name.removeprefix("source/") if name.startswith("source/") else f"docs/{name}"


def _in_site(path: str) -> str:
    """Return the page of a file in the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    name = re.sub(r"(^|/)\.", r"\1", path)  # hidden files are not part of a site
    return f"source/{name}" if path.endswith(".md") else f"source/{name}.md"

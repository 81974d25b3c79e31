"""The documentation is true: commands in it are understood, and examples are what the program writes and reads."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from patchvsr.cli.main import app
from patchvsr.presets import load_preset, save_preset
from patchvsr.settings import UpscaleSettings

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = typer.main.get_command(app).commands
# cli.md shows how to call each command instead of calling it.
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "cli.md")]


def _blocks(page: Path, language: str = "") -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for found, text in blocks if found == language]


def _commands() -> dict[str, list[str]]:
    """What follows `patchvsr`, or `-m patchvsr.cli.main`, in code blocks: the words by page and text."""
    found = {}
    for page in PAGES:
        for line in "".join(_blocks(page)).replace("\\\n", " ").splitlines():
            if match := re.search(r"(?:^|\s)patchvsr(?:\.cli\.main)? (.+)", line):
                words = shlex.split(match[1], comments=True)
                found[f"{page.name}: {' '.join(words)}"] = words
    return found


def test_there_are_commands_to_check():
    assert {words[0] for words in _commands().values()} == COMMANDS.keys() - {"recipes"}


@pytest.mark.parametrize("words", _commands().values(), ids=_commands())
def test_commands_are_understood(words):
    """Names, options and kinds of values, and nothing that is required is missing; nothing runs."""
    name, *rest = words
    COMMANDS[name].make_context(name, rest)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("in.mkv -o out.mkv --sise 4k", "--sise"),
        ("in.mkv", "output"),
        ("in.mkv -o out.mkv --crf good", "number"),
    ],
)
def test_a_wrong_command_is_not_understood(words, said):
    with pytest.raises(Exception, match=said):
        COMMANDS["upscale"].make_context("upscale", words.split())


def test_the_preset_is_what_its_command_saves(tmp_path):
    page = ROOT / "docs" / "jobs.md"
    (text,) = _blocks(page, "toml")
    (tmp_path / "shown.toml").write_text(text)
    settings = load_preset(tmp_path / "shown.toml")
    given = UpscaleSettings.of(
        size="4k", restoration=0.5, codec="hevc", crf=18.0, encoder_options={"preset": "slow"}, overwrite=True,
        device="cpu", skip_streams=(2,),
    )  # fmt: skip
    save_preset(given, tmp_path / "saved.toml")
    assert (tmp_path / "saved.toml").read_text() == text
    assert settings == given.replaced(overwrite=False, device=None, skip_streams=())
    assert tomllib.loads(text).keys() <= {"read", "restore", "encode"}


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, ROOT / "docs" / "cli.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_tests_that_are_named_as_proof_exist():
    """A link whose text is the name of a test leads to the file that has it."""
    found = [
        (page, name, page.parent / target)
        for page in PAGES
        for name, target in re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert found
    for page, name, file in found:
        assert f"def {name}(" in file.read_text(encoding="utf-8"), f"{page.name}: {name} is not in {file.name}"


def test_the_image_gets_what_its_steps_copy_and_nothing_else():
    steps = (ROOT / "Containerfile").read_text(encoding="utf-8")
    copied = {name for names in re.findall(r"^COPY (.+) \S+$", steps, re.MULTILINE) for name in names.split()}
    sent = {line[1:] for line in (ROOT / ".containerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert copied == sent and all((ROOT / name).exists() for name in copied)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {name for names in re.findall(r"'\.\[(.+)\]'", steps) for name in names.split(",")} <= extras.keys()

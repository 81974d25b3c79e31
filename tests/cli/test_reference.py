"""docs/cli.md is what the commands say of themselves."""

from pathlib import Path

from patchvsr.cli.main import app
from patchvsr.cli.reference import render

WRITTEN = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_reference_is_up_to_date(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")  # of the terminal, which must not matter
    assert WRITTEN.read_text(encoding="utf-8") == render(app) + "\n", "run `make docs`"

"""The clip that most media tests read."""

from pathlib import Path

import pytest
from clips import make_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """One second at 25 frames a second with sound and subtitles, in Matroska."""
    return make_video(tmp_path / "clip.mkv", audio=True, subtitles=True)

"""SIGKILL at any moment, then the same command again: the same bytes as without."""

import sys
from collections import Counter

import pytest
from jobfiles import digest, make_shots
from killing import Killer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

PHASES = ["start", "scan", "start", "units", "start", "units", "units", "assembling", "publishing"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.mkv", "images"])
def test_a_killed_job_ends_with_the_same_bytes(tmp_path, name):
    source = make_shots(tmp_path / "in.mkv")
    whole, killed = tmp_path / "whole" / name, tmp_path / "killed" / name
    killer = Killer()
    killer.run(source, whole)
    killer.run_killed(PHASES, source, killed)
    assert killer.kills == Counter(PHASES)
    assert digest(killed) == digest(whole)
    assert sorted(path.name for path in killed.parent.iterdir()) == [name, f"{name}.job"]
    assert sorted(path.name for path in (killed.parent / f"{name}.job").iterdir()) == ["manifest.json", "result.json"]

"""A disk that becomes full costs no work: one line, exit code 2, and the job goes on when there is room."""

import pytest
import toy
from filling import DISK_KIB, MOMENTS, fail_and_go_on, small_disk
from jobfiles import make_shots, run


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk_at_any_moment(tmp_path, moment):
    source, whole = make_shots(tmp_path / "in.mkv"), tmp_path / "whole.mkv"
    run(source, whole, toy.pipeline(num_inference_steps=1))
    try:
        with small_disk(DISK_KIB) as disk:
            shown, code = fail_and_go_on(moment, source, whole, disk)
    except (PermissionError, FileNotFoundError) as error:
        pytest.skip(f"needs to mount a small disk: {error}")
    assert shown.startswith("patchvsr: ") and shown.endswith("no space left on device; free some space, then run again")
    assert code == 2

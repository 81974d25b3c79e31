"""A disk that becomes full costs no work: one line, exit code 2, and the job goes on when there is room."""

import pytest
import toy
from filling import DISK_KIB, MOMENTS, fail_and_go_on, mount_refusal, small_disk
from jobfiles import make_shots, run


@pytest.fixture(scope="module", autouse=True)
def _needs_a_small_disk():
    reason = mount_refusal()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_shots(tmp_path_factory.mktemp("source") / "in.mkv")


@pytest.fixture(scope="module")
def whole(source):
    target = source.with_name("whole.mkv")
    run(source, target, toy.pipeline(num_inference_steps=1))
    return target


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk_at_any_moment(tmp_path, source, whole, moment):
    with small_disk(DISK_KIB) as disk:
        shown, code = fail_and_go_on(moment, source, whole, disk)
    assert shown.startswith("patchvsr: ") and shown.endswith("no space left on device; free some space, then run again")
    assert code == 2

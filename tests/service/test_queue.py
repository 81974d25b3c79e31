"""Order, states and what is left by an earlier service."""

import pytest

from patchvsr.service.database import Bell, connect
from patchvsr.service.events import EventLog
from patchvsr.service.queue import Queue, State
from patchvsr.service.refusals import Refused


@pytest.fixture
def queue(tmp_path):
    return _open(tmp_path)


def _open(folder):
    database = connect(folder / "service.sqlite")
    return Queue(database, EventLog(database, Bell()))


def _add(queue, id, priority=0):
    queue.add(id=id, priority=priority, name=id, input="in", output=id, upload=None, settings={}, look={}, frames=None)


def _order(queue, device=None):
    taken = []
    while (job := queue.take(device)) is not None:
        taken.append(job.id)
    return taken


def test_jobs_come_in_the_order_of_their_submission(queue):
    for id in "bca":
        _add(queue, id)
    assert _order(queue) == ["b", "c", "a"]


def test_a_higher_priority_comes_first(queue):
    for id, priority in (("a", 0), ("b", 5), ("c", -5), ("d", 5)):
        _add(queue, id, priority)
    assert _order(queue) == ["b", "d", "a", "c"]


def test_a_job_moves_before_another_and_takes_its_priority(queue):
    for id, priority in (("a", 5), ("b", 5), ("c", 0)):
        _add(queue, id, priority)
    queue.move("c", before="b")
    assert queue.get("c").priority == 5
    queue.move("b", before="a")
    assert _order(queue) == ["b", "a", "c"]


def test_a_new_priority_changes_the_order(queue):
    for id in "ab":
        _add(queue, id)
    queue.move("b", priority=1)
    assert _order(queue) == ["b", "a"]


def test_a_job_that_has_begun_goes_on_where_it_began(queue):
    _add(queue, "a")
    assert queue.take("cuda:1").id == "a"
    queue.enter("a", State.PAUSED)
    queue.enter("a", State.SUBMITTED)
    assert queue.take("cuda:0") is None
    assert queue.take("cuda:1").id == "a"


def test_what_ran_is_next_in_a_new_service_unless_it_was_to_stop(tmp_path, queue):
    for id in "abcd":
        _add(queue, id)
    for _ in "abc":
        queue.take(None)
    queue.want("b", State.PAUSED)
    queue.want("c", State.CANCELLED)
    again = _open(tmp_path)
    again.take_up([None])
    assert {job.id: job.state for job in again.all()} == {
        "a": State.SUBMITTED, "b": State.PAUSED, "c": State.CANCELLED, "d": State.SUBMITTED,
    }  # fmt: skip
    assert _order(again) == ["a", "d"]


def test_a_job_of_a_device_that_is_not_offered_any_more_is_not_forgotten(tmp_path, queue):
    _add(queue, "a")
    queue.take("cuda:1")
    again = _open(tmp_path)
    again.take_up(["cpu"])
    assert again.take("cpu").id == "a"


def test_an_unknown_job_is_refused(queue):
    with pytest.raises(Refused, match="no job x") as refused:
        queue.get("x")
    assert refused.value.status == 404

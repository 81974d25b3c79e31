"""Who gets which unit, without a cluster: rows of units inside a shot, shots in parallel, failures and losses."""

import random
from collections import defaultdict

import pytest

from patchvsr.distributed.leases import MOST_FAILURES, MOST_LOSSES, Leases
from patchvsr.jobs.plan import Unit, cut_chunks, cut_units

BOTH = {"a", "b"}


def units_of(*shots: int) -> list[Unit]:
    """Units of 8 frames; the first frame of a chunk is shared, so that a long shot is a row of units."""
    first, ranges = 0, []
    for length in shots:
        ranges.append(range(first, first + length))
        first += length
    return cut_units(cut_chunks(ranges, 9, 1), 8)


def test_the_longest_shot_begins_first_and_its_units_wait_for_each_other():
    leases = Leases(units_of(9, 25), ())
    assert leases.take("a", BOTH).number == 1
    assert leases.take("b", BOTH).number == 0
    assert leases.take("b", BOTH) is None
    leases.finish(1)
    assert leases.take("b", BOTH).number == 2


def test_the_next_unit_of_a_shot_may_wait_on_the_worker_that_hands_over():
    leases = Leases(units_of(25), ())
    assert leases.take("a", BOTH).number == 0
    assert leases.take("b", BOTH) is None
    assert leases.take("a", BOTH, after=0).number == 1
    leases.give_back(1, "a")
    assert leases.take("b", BOTH) is None  # still waits for the first
    leases.finish(0)
    assert leases.take("b", BOTH).number == 1


def test_a_failed_unit_goes_to_a_worker_that_has_not_tried_it_and_ends_the_job_after_too_many():
    leases = Leases(units_of(9), ())
    assert leases.take("a", BOTH).number == 0
    assert leases.fail(0, "a", "no memory") is None
    assert leases.take("a", BOTH) is None
    assert leases.take("b", BOTH).number == 0
    assert leases.fail(0, "b", "no disk") is None
    for _ in range(MOST_FAILURES - 2):
        assert leases.take("a", BOTH).number == 0
        reasons = leases.fail(0, "a", "no memory")
    assert reasons == "no memory (on a); no disk (on b)"


def test_the_only_worker_tries_again():
    leases = Leases(units_of(9), ())
    for _ in range(MOST_FAILURES):
        assert leases.take("a", {"a"}).number == 0
        reasons = leases.fail(0, "a", "no memory")
    assert reasons == "no memory (on a)"


def test_losing_workers_says_less_about_a_unit_than_failing():
    leases = Leases(units_of(9), ())
    for _ in range(MOST_LOSSES):
        assert leases.take("a", {"a"}).number == 0
        reasons = leases.lose(0, "a", "its node left the cluster")
    assert reasons is not None and reasons.count("its node left") == MOST_LOSSES


def test_a_unit_that_was_done_twice_counts_once():
    leases = Leases(units_of(9, 9), ())
    leases.take("a", BOTH)
    leases.lose(0, "a", "gone")
    leases.take("b", BOTH)
    assert leases.finish(0)
    assert not leases.finish(0)
    assert not leases.all_done
    assert leases.take("b", BOTH).number == 1


def test_a_waiting_unit_suits_an_idle_worker_that_could_begin_it_and_has_not_failed_on_it():
    leases = Leases(units_of(17, 9), ())
    assert leases.suits(0, {"b"}) and leases.suits(2, {"b"})
    assert not leases.suits(1, {"b"})  # waits for the first
    leases.take("b", BOTH)
    leases.fail(0, "b", "no memory")
    assert not leases.suits(0, {"b"}) and leases.suits(0, BOTH)


def rows(*shots: int) -> list[Unit]:
    """The same units, each of which can begin by itself."""
    ranges = [range(sum(shots[:number]), sum(shots[: number + 1])) for number in range(len(shots))]
    return cut_units(cut_chunks(ranges, 9, 1), 8, 8)


def test_workers_share_a_long_shot_in_runs_that_are_as_long_as_can_be():
    leases, done = Leases(rows(8 * 8 + 1), ()), {"a": [], "b": []}
    last = {"a": None, "b": None}
    while not leases.all_done:
        for worker in ("a", "b"):
            unit = leases.take(worker, BOTH, after=last[worker])
            done[worker].append(unit.number)
            last[worker] = unit.number
        for worker in ("a", "b"):
            leases.finish(last[worker])
    assert done == {"a": [0, 1, 2, 3], "b": [4, 5, 6, 7]}


def test_a_shot_that_nobody_works_on_comes_before_the_second_half_of_another():
    leases = Leases(rows(81, 49, 17), ())
    assert leases.take("a", BOTH).number == 0
    assert leases.take("b", BOTH).number == 10  # six units; the first shot has nine left, of which another begins five
    assert leases.take("c", BOTH).number == 5
    assert [leases.take("a", BOTH, after=0).number for _ in range(2)] == [1, 13]


def test_the_row_of_a_lost_worker_is_whole_again():
    leases = Leases(rows(33), ())
    assert leases.take("a", BOTH).number == 0
    assert leases.take("a", BOTH, after=0).number == 1
    assert leases.take("b", BOTH).number == 3
    leases.give_back(1, "a")
    leases.lose(0, "a", "gone")
    order = [leases.take("b", {"b"}, after=3).number]
    leases.finish(3)
    while (unit := leases.take("b", {"b"}, after=order[-1])) is not None:
        order.append(unit.number)
    assert order == [0, 1, 2]


@pytest.mark.parametrize("needed", [True, False], ids=["ordered", "independent"])
def test_every_unit_is_done_once_whatever_happens(needed):
    units = (units_of if needed else rows)(41, 2, 9, 33, 1, 17)
    for seed in range(20):
        chance, leases, done, held = random.Random(seed), Leases(units, ()), [], defaultdict(list)
        workers = ["a", "b", "c"]
        while not leases.all_done:
            worker = chance.choice(workers)
            last = held[worker][-1] if held[worker] else None
            unit = leases.take(worker, workers, after=last) if len(held[worker]) < 2 else None
            if unit is not None:
                assert not needed or not unit.continues or unit.number - 1 in [*done, last]
                held[worker].append(unit.number)
            elif held[worker] and chance.random() < 0.8:
                number = held[worker].pop(0)
                assert leases.finish(number)
                done.append(number)
            else:
                for number in reversed(held.pop(worker, [])):
                    leases.give_back(number, worker)
        assert sorted(done) == [unit.number for unit in units]

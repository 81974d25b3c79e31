"""Every frame is in one chunk and one unit, no chunk crosses a cut, and lengths are what models take."""

import itertools

import pytest

from patchvsr.jobs.plan import cut_chunks, cut_units

LENGTHS = [(5, 1), (9, 1), (9, 5), (17, 1), (17, 9), (17, 13), (21, 17)]


def shots_of(lengths):
    ends = list(itertools.accumulate(lengths))
    return [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def many_shots():
    """Every short shot alone, between others, and some long ones."""
    yield from (shots_of([length]) for length in range(1, 60))
    yield from (shots_of([first, second, 7]) for first in range(1, 24) for second in (1, 2, 5, 18))
    yield shots_of([1] * 40)
    yield shots_of([500, 1, 333, 17, 16, 4])


@pytest.mark.parametrize(("length", "overlap"), LENGTHS)
def test_chunks_cover_every_frame_once(length, overlap):
    for shots in many_shots():
        chunks = cut_chunks(shots, length, overlap)
        new = [frame for chunk in chunks for frame in range(chunk.start + chunk.shared, chunk.stop)]
        assert new == list(range(shots[-1].stop))


@pytest.mark.parametrize(("length", "overlap"), LENGTHS)
def test_a_chunk_lies_in_one_shot_and_shares_what_its_neighbour_has(length, overlap):
    for shots in many_shots():
        chunks = cut_chunks(shots, length, overlap)
        for shot in shots:
            own = [chunk for chunk in chunks if chunk.start in shot]
            assert own[0].start == shot.start and own[0].shared == 0
            assert own[-1].stop == shot.stop
            for before, after in itertools.pairwise(own):
                assert before.stop - before.start == length  # 4k+1: only the last of a shot is not
                assert (after.start, after.shared) == (before.stop - overlap, overlap)


@pytest.mark.parametrize(("length", "overlap"), LENGTHS)
def test_shared_frames_have_the_noise_they_had(length, overlap):
    for shots in many_shots():
        for before, after in itertools.pairwise(cut_chunks(shots, length, overlap)):
            assert before.place % 4 == after.place % 4 == 0
            assert before.place <= after.place  # shots of less than four frames may have the same
            if after.shared:
                assert after.place - before.place == after.start - before.start


@pytest.mark.parametrize("unit_frames", [1, 5, 9, 48, 1000])
def test_units_are_runs_of_chunks_of_at_least_their_length(unit_frames):
    for shots in many_shots():
        chunks = cut_chunks(shots, 9, 5)
        units = cut_units(chunks, unit_frames)
        assert [chunk for unit in units for chunk in unit.chunks] == chunks
        assert [unit.number for unit in units] == list(range(len(units)))
        assert [frame for unit in units for frame in unit.frames] == list(range(shots[-1].stop))
        for unit in units[:-1]:
            assert len(unit.frames) >= unit_frames > len(unit.frames) - len(shorter_by(unit.chunks[-1]))


@pytest.mark.parametrize(("length", "overlap"), LENGTHS)
@pytest.mark.parametrize("warm_up", [1, 5, 8, 10, 17, 40])
def test_a_unit_inside_a_shot_can_be_warmed_up_by_the_frames_before_it(length, overlap, warm_up):
    for shots in many_shots():
        chunks = cut_chunks(shots, length, overlap)
        for unit in cut_units(chunks, 9, max(warm_up, overlap)):
            assert not unit.needs_previous and bool(unit.warm_up) == unit.continues
            if not unit.continues:
                continue
            (shot,) = (shot for shot in shots if unit.frames.start in shot)
            begin, by_itself, first = unit.warm_up[0], unit.warm_up[0].shared, unit.chunks[0]
            assert not by_itself and begin.start >= shot.start
            wanted = min(max(warm_up, overlap), unit.frames.start - shot.start)
            assert wanted <= unit.frames.start - begin.start < wanted + 4
            for before, after in itertools.pairwise([*unit.warm_up, first]):
                assert (before.stop - before.start) % 4 == 1 and before.stop - after.start == after.shared == overlap
                assert after.place - before.place == after.start - before.start
            assert all(chunk.stop - chunk.start <= length for chunk in unit.warm_up)


def test_units_that_cannot_begin_by_themselves_need_the_one_before():
    units = cut_units(cut_chunks([range(30), range(30, 32)], 9, 1), 9)
    assert [unit.needs_previous for unit in units] == [False, True, True]


def shorter_by(chunk):
    """The frames that a unit would lack without its last chunk."""
    return range(chunk.start + chunk.shared, chunk.stop)

"""The first look knows every frame, its time and its pixels, and where shots begin."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from clips import irregular_pts, make_video, picture
from jobfiles import SHOTS, make_shots

from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.scan import Scan, frame_crc, scan
from patchvsr.media import Frame, open_reader
from patchvsr.media.settings import ReadSettings


def look(path, **settings):
    """What was found, and the numbers told on the way."""
    found = Scan()
    with open_reader(path, ReadSettings(**settings)) as reader:
        return found, list(scan(reader, found))


def test_times_and_pixels_of_every_frame(tmp_path):
    path = make_video(tmp_path / "in.mkv", pts=irregular_pts(23))
    found, told = look(path)
    frames = list(open_reader(path))
    assert found.pts == [frame.pts for frame in frames]
    assert found.durations == [frame.duration for frame in frames]
    assert found.crcs == [frame_crc(frame) for frame in frames]
    assert found.cuts == [0]
    assert told == list(range(1, 24))


def test_shots(tmp_path):
    found, _ = look(make_shots(tmp_path / "in.mkv"))
    starts = [0, *itertools.accumulate(SHOTS)]
    assert found.shots() == [range(*ends) for ends in itertools.pairwise(starts)]


def test_the_shot_of_a_frame():
    found = Scan(pts=list(range(9)), cuts=[0, 3, 4])
    assert [found.shot_of(number) for number in (0, 2, 3, 4, 8)] == [
        range(3), range(3), range(3, 4), range(4, 9), range(4, 9),
    ]  # fmt: skip


def test_a_range(tmp_path):
    path = make_shots(tmp_path / "in.mkv")
    whole, part = look(path)[0], look(path, start_s=0.4, end_s=0.8)[0]
    assert part.pts == whole.pts[10:20]
    assert part.crcs == whole.crcs[10:20]


@pytest.mark.parametrize("changed", ["rgb", "alpha"])
def test_one_changed_value_is_another_frame(changed):
    planes = {"rgb": picture(3), "alpha": picture(3)[..., 0]}
    before = Frame(planes["rgb"], 0, 1, Fraction(1, 25), planes["alpha"])
    planes[changed] = planes[changed].copy()
    planes[changed][17, 31] ^= 1
    after = Frame(planes["rgb"], 0, 1, Fraction(1, 25), planes["alpha"])
    assert frame_crc(before) != frame_crc(after)
    assert frame_crc(before) != frame_crc(Frame(picture(3), 0, 1, Fraction(1, 25)))


@pytest.mark.parametrize("options", [{}, {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=3"}])
@pytest.mark.parametrize("name", ["in.mkv", "in.mp4", "in.ts"])
def test_frames_come_from_anywhere_as_they_were_scanned(tmp_path, name, options):
    path = make_shots(tmp_path / name, (60,), audio=False, **options)
    found, _ = look(path)
    whole = [frame.rgb for frame in open_reader(path)]
    for start in range(0, 60, 7):
        source = FrameSource(path, ReadSettings(), found)
        for stop in (min(start + 3, 60), 60, start + 2):
            taken = source.take(start, stop)
            assert np.array_equal([frame.rgb for frame in taken], whole[start:stop])
        source.close()


def test_a_seek_that_leads_astray_is_replaced_by_a_whole_read(tmp_path, monkeypatch):
    """As if the decoder gave other pixels after a seek: those of the first read count."""
    path, other = make_shots(tmp_path / "in.mkv"), make_shots(tmp_path / "other.mkv", (12, 22), audio=False)
    found, _ = look(path)

    def astray(_, settings, *, resume_pts, seek):
        return open_reader(other if seek else path, settings, resume_pts=resume_pts, seek=seek)

    monkeypatch.setattr("patchvsr.jobs.frames.open_reader", astray)
    source = FrameSource(path, ReadSettings(), found)
    assert [frame_crc(frame) for frame in source.take(20, 25)] == found.crcs[20:25]
    source.close()

"""Units become final only with all of their bytes; room on nodes; options."""

import hashlib

import pytest

from patchvsr.distributed.drafts import PROBE, Draft, Drafts, publish, same_bytes
from patchvsr.distributed.settings import ClusterSettings, Room
from patchvsr.errors import JobError, SettingsError
from patchvsr.jobs.folder import JobFolder, UnitRecord
from patchvsr.media.segment import SegmentTable

SEGMENT, TOKEN = b"encoded", "0123abcd"
RECORD = UnitRecord(SegmentTable([0], [len(SEGMENT)], [True], [0]), {"seconds": 1.0})
DIGEST = hashlib.sha256(SEGMENT).hexdigest()


@pytest.fixture
def folder(tmp_path):
    found = JobFolder(tmp_path / "out.mkv")
    found.path.mkdir()
    return found


@pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "shared"])
def test_a_unit_becomes_final_under_its_names(folder, as_bytes):
    drafts = Drafts(folder.path)
    segment, handover = drafts.paths(7, TOKEN)
    segment.write_bytes(SEGMENT)
    handover.write_bytes(b"state")
    draft = drafts.finished(7, RECORD, segment, handover, notices=(), as_bytes=as_bytes)
    assert not folder.is_done(7)
    publish(draft, folder, TOKEN)
    assert folder.is_done(7) and folder.read_unit(7) == RECORD
    assert folder.segment_path(7).read_bytes() == SEGMENT
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "unit-00007.bin", "unit-00007.json", "unit-00007.safetensors",
    ]  # fmt: skip
    assert same_bytes(draft, folder)


def test_bytes_that_did_not_arrive_are_not_published(folder):
    with pytest.raises(JobError, match="is not what the worker wrote"):
        publish(Draft(7, RECORD, SEGMENT[:-1], None, DIGEST), folder, TOKEN)
    with pytest.raises(JobError, match="is not what the worker wrote"):
        publish(Draft(7, RECORD, folder.path / "gone", None, DIGEST), folder, TOKEN)
    assert not any(folder.path.iterdir())


def test_only_the_folder_of_this_job_is_recognised(folder):
    assert not Drafts(folder.path, "mine").is_visible()
    (folder.path / PROBE).write_text("another")
    assert not Drafts(folder.path, "mine").is_visible()
    (folder.path / PROBE).write_text("mine")
    assert Drafts(folder.path, "mine").is_visible()


@pytest.mark.parametrize(
    ("options", "resources", "any_gpus", "room"),
    [
        ({}, {"CPU": 16.0, "GPU": 4.0}, True, Room(4, 4, 1.0)),
        ({}, {"CPU": 16.0}, True, Room(0, 16, 1.0)),
        ({}, {"CPU": 16.0}, False, Room(1, 16, 0.0)),
        ({}, {}, False, Room(0, 1, 0.0)),
        ({"cpus_per_worker": 3}, {"CPU": 16.0}, False, Room(5, 3, 0.0)),
        ({"gpus_per_worker": 0.5}, {"CPU": 4.0, "GPU": 1.0}, True, Room(2, 2, 0.5)),
        ({"patch_parallel": 2}, {"CPU": 16.0, "GPU": 4.0}, True, Room(2, 4, 1.0)),
        ({"patch_parallel": 2}, {"CPU": 5.0}, False, Room(1, 2, 0.0)),
        ({"patch_parallel": 3}, {"CPU": 16.0, "GPU": 2.0}, True, Room(0, 8, 1.0)),
        ({"gpus_per_worker": 0.0, "cpus_per_worker": 8}, {"CPU": 16.0, "GPU": 4.0}, True, Room(2, 8, 0.0)),
    ],
)
def test_the_room_on_a_node(options, resources, any_gpus, room):
    assert ClusterSettings(**options).room(resources, any_gpus=any_gpus) == room


@pytest.mark.parametrize(
    "options", [{"address": "somewhere"}, {"workers": 0}, {"cpus_per_worker": 0}, {"gpus_per_worker": -1.0}]
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(SettingsError):
        ClusterSettings(**options)

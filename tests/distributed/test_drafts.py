"""Units become final only with all of their bytes; room on nodes; options."""

import hashlib

import pytest

from patchvsr.distributed.drafts import PROBE, Draft, Drafts, publish, same_bytes
from patchvsr.distributed.pieces import Piece, Pieces, add_piece
from patchvsr.distributed.settings import ClusterSettings, Room
from patchvsr.errors import JobError, SettingsError
from patchvsr.jobs.folder import JobFolder, UnitRecord
from patchvsr.media.segment import SegmentTable

SEGMENT, TOKEN = b"encoded" * 30_000, "0123abcd"
RECORD = UnitRecord(SegmentTable([0], [len(SEGMENT)], [True], [0]), {"seconds": 1.0})
DIGEST = hashlib.sha256(SEGMENT).hexdigest()


@pytest.fixture
def folder(tmp_path):
    found = JobFolder(tmp_path / "out.mkv")
    found.path.mkdir()
    return found


def written(drafts, *, sends):
    segment, handover = drafts.paths(7, TOKEN)
    segment.write_bytes(SEGMENT)
    handover.write_bytes(b"state")
    return drafts.finished(7, RECORD, segment, handover, sends=sends)


@pytest.mark.parametrize("sends", [True, False], ids=["sent", "shared"])
def test_a_unit_becomes_final_under_its_names(tmp_path, folder, sends):
    draft = written(Drafts(tmp_path / "worker" if sends else folder.path), sends=sends)
    assert draft.pieces == (3 + 1 if sends else 0)
    for index in range(draft.pieces):
        add_piece(Pieces(draft.files).read(index), folder.path)
    assert not folder.is_done(7)
    publish(draft.received(folder.path), folder)
    assert folder.is_done(7) and folder.read_unit(7) == RECORD
    assert folder.segment_path(7).read_bytes() == SEGMENT
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "unit-00007.bin", "unit-00007.json", "unit-00007.safetensors",
    ]  # fmt: skip
    assert same_bytes(draft, folder)


def test_what_did_not_arrive_whole_is_not_published(tmp_path, folder):
    draft = written(Drafts(tmp_path / "worker"), sends=True)
    add_piece(Pieces(draft.files).read(0), folder.path)
    for received in (draft.received(folder.path), Draft(7, RECORD, folder.path / "gone", None, DIGEST)):
        with pytest.raises(JobError, match="is not what the worker wrote"):
            publish(received, folder)
    assert not any(folder.path.iterdir())


def test_a_file_that_is_sent_again_begins_anew(tmp_path):
    add_piece(Piece("file", 0, b"the first of many"), tmp_path / "new")
    add_piece(Piece("file", 0, b"whole"), tmp_path / "new")
    assert (tmp_path / "new" / "file").read_bytes() == b"whole"


def test_pieces_are_those_of_all_files_in_their_order(tmp_path):
    for name, contents in (("a", b"12345"), ("empty", b""), ("b", b"678")):
        (tmp_path / name).write_bytes(contents)
    found = Pieces([tmp_path / name for name in ("a", "empty", "b")], 3)
    assert [found.read(index) for index in range(len(found))] == [
        ("a", 0, b"123"), ("a", 3, b"45"), ("empty", 0, b""), ("b", 0, b"678"),
    ]  # fmt: skip


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

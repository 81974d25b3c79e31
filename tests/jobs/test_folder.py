"""A job's folder: files are whole or not there, one process at a time, and only the job's own files are removed."""

import json
import multiprocessing
import signal
import sys
from pathlib import Path

import forking
import pytest
import torch

from patchvsr.decoding import ClipState
from patchvsr.errors import JobError, OutputError
from patchvsr.jobs.folder import JobFolder, UnitRecord
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.scan import Scan
from patchvsr.media.contents import Contents
from patchvsr.media.segment import SegmentTable
from patchvsr.models.autoencoder import State
from patchvsr.models.tiles import Tile

TILE = Tile((0, 32, 0, 48), (0, 48, 0, 64))
FEATURES = torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
HANDOVER = ClipState(torch.arange(6.0).view(2, 3), 0.37, {TILE: State(17, {"mix0.back1": FEATURES})})
MANIFEST = Manifest({"settings": {"seed": 1}}, Scan([0, 40], [40, None], [7, 8], [0]), 17, 5, 48)
STRANGERS = (
    "notes.txt",
    "unit-notes.txt",
    "unit-1.bin",
    "output.txt",
    "draft.tmp",
    "manifest.json.bak",
    "images/a.txt",
)


@pytest.fixture
def folder(tmp_path):
    return JobFolder(tmp_path / "out.mkv")


def fill(folder):
    """Everything that a job writes, what a killed one was writing included, and files of somebody else."""
    folder.path.mkdir(exist_ok=True)
    folder.write_manifest(MANIFEST)
    add_unit(folder, 0)
    folder.write_result(Contents(0, "", 0, [], [], []), [])
    for name in ("manifest.json.tmp", "result.json.tmp", "unit-00001.json.tmp", "unit-00001.safetensors.tmp"):
        (folder.path / name).write_bytes(b"half")
    (folder.path / "images").mkdir(exist_ok=True)
    for name in STRANGERS:
        (folder.path / name).write_text("mine")


def add_unit(folder, number, data=b"abcdef"):
    folder.segment_path(number).write_bytes(data)
    record = UnitRecord(SegmentTable([0], [6], [True], [1]), {"seconds": 1.0})
    folder.write_unit(number, record, HANDOVER)
    return record


def names(folder):
    return {str(file.relative_to(folder.path)) for file in folder.path.rglob("*") if file.is_file()}


def test_what_is_written_is_read(folder):
    folder.path.mkdir()
    assert folder.read_manifest() is folder.read_result() is None
    folder.write_manifest(MANIFEST)
    assert folder.read_manifest() == MANIFEST
    record = add_unit(folder, 3)
    assert folder.is_done(3) and not folder.is_done(2)
    assert folder.read_unit(3) == record
    handover = folder.read_handover(3)
    assert torch.equal(handover.latents, HANDOVER.latents) and handover.restoration == HANDOVER.restoration
    assert handover.decoder[TILE].num_frames == 17
    stored = handover.decoder[TILE].features["mix0.back1"]
    assert torch.equal(stored, FEATURES) and stored.stride() == FEATURES.stride()
    contents = Contents(9, "1/1000", 7, [0], [5], [])
    folder.write_result(contents, [record.effort])
    assert folder.read_result() == contents
    assert folder.read_efforts() == [{"seconds": 1.0}]


def test_the_folder_lies_beside_the_output(tmp_path):
    assert JobFolder(tmp_path / "out.mkv").path == tmp_path / "out.mkv.job"
    assert JobFolder(tmp_path / "out" / "%06d.png").path == tmp_path / "out" / "06d.png.job"


@pytest.mark.parametrize("name", [".", "", "../frames/.", "inner/.."])
def test_a_folder_without_a_name_has_its_own(tmp_path, monkeypatch, name):
    (tmp_path / "frames" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "frames")
    assert JobFolder(Path(name)).path.resolve() == tmp_path / "frames.job"
    with pytest.raises(OutputError, match="root"):
        JobFolder(Path("/"))


def test_a_strangers_files_survive_every_removal(folder):
    for removal in (folder.drop_units, folder.clear):
        fill(folder)
        removal()
        assert set(STRANGERS) <= names(folder)
    assert names(folder) == set(STRANGERS)
    with folder.locked():
        pass
    assert names(folder) == set(STRANGERS)


def test_units_are_dropped_with_what_was_being_written(folder):
    fill(folder)
    assert folder.has_units()
    folder.drop_units()
    assert not folder.has_units()
    assert names(folder) == {"manifest.json", "manifest.json.tmp", "result.json", "result.json.tmp", *STRANGERS}


def test_a_folder_without_a_manifest_goes_again(folder):
    with folder.locked():
        add_unit(folder, 0)
    assert not folder.path.exists()


def test_the_folder_is_usable_after_clearing(folder):
    with folder.locked():
        folder.write_manifest(MANIFEST)
        folder.clear()
        folder.write_manifest(MANIFEST)
        add_unit(folder, 0)
    assert folder.is_done(0)


@pytest.mark.parametrize("name", ["manifest.json", "result.json"])
@pytest.mark.parametrize("content", ["", '{"format": 1', "[]x", "\udcff"])
def test_a_damaged_record_is_refused(folder, name, content):
    fill(folder)
    (folder.path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(JobError, match=f"{name}: cannot be read"):
        (folder.read_manifest if name == "manifest.json" else folder.read_result)()


@pytest.mark.parametrize("change", [{"format": 1}, {"scan": {"other": 1}}, {"unknown": 1}])
def test_a_manifest_of_another_version_is_refused(folder, change):
    fill(folder)
    file = folder.path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(JobError, match="another version of patchvsr"):
        folder.read_manifest()


@pytest.mark.parametrize("data", [b"abc", b"abcdefg"])
def test_a_segment_of_another_size_is_refused(folder, data):
    folder.path.mkdir()
    add_unit(folder, 0, data)
    with pytest.raises(
        JobError, match=r"unit-00000\.bin: does not match its record; remove it and run the same command"
    ):
        folder.read_unit(0)
    folder.segment_path(0).unlink()
    assert not folder.is_done(0)


def test_a_failed_write_leaves_what_was_there(folder):
    folder.path.mkdir()
    folder.write_manifest(MANIFEST)
    (folder.path / "result.json.tmp").mkdir()  # nothing can be written under that name
    with pytest.raises(OutputError, match="cannot be written"):
        folder.write_result(Contents(0, "", 0, [], [], []), [])
    assert folder.read_manifest() == MANIFEST and folder.read_result() is None


def test_a_file_in_the_way_is_told(folder):
    folder.path.write_text("mine")
    with pytest.raises(OutputError, match=r"out\.mkv\.job: cannot be written"), folder.locked():
        pass
    assert folder.path.read_text() == "mine"


def hold(path, pipe):
    """In another process: holds a folder until it is killed, or told to go."""
    with JobFolder(path, path=path).locked():
        pipe.send("held")
        pipe.recv()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("killed", [False, True])
def test_a_second_process_is_refused_until_the_first_ends(folder, killed):
    fill(folder)
    before = names(folder)
    ours, theirs = multiprocessing.Pipe()
    process = forking.start(hold, folder.path, theirs)
    assert ours.recv() == "held"
    for _ in range(2):
        with pytest.raises(JobError, match="another process is working on this job"), folder.locked():
            pass
    assert names(folder) == before | {"lock"}
    if killed:
        process.kill()
    else:
        ours.send("go")
    assert forking.ended(process) == (-signal.SIGKILL if killed else 0)
    with folder.locked():
        pass
    assert names(folder) == before

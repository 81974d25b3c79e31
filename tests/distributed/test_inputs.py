"""An input arrives whole on a node that cannot see it, whatever it is made of, or not at all."""

import tempfile
from pathlib import Path

import pytest
from clips import make_video

from patchvsr.distributed import inputs
from patchvsr.distributed.inputs import InputCache, InputServer, ServedInput
from patchvsr.errors import InputError
from patchvsr.jobs.identity import input_identity


@pytest.fixture(autouse=True)
def small_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "SHARED_BYTES", 300)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def made(folder, name):
    """An input: its path."""
    if name == "in.mkv":
        return make_video(folder / name, count=5, size=(64, 64))
    (folder / "in").mkdir()
    for number in (2, 10, 1):
        (folder / "in" / f"{number:04d}.png").write_bytes(bytes([number]) * 700 * number)
    return folder / name


def cache_of(served, token="0123abcd", job="out.mkv.job"):
    return InputCache(served, Path(job), token)


def sent(path, cache):
    server = InputServer(path, lambda piece: piece)
    for index in range(len(server)):
        cache.receive(index, server.piece(index))
    return len(server)


@pytest.mark.parametrize("name", ["in.mkv", "in", "in/%04d.png"])
def test_what_arrives_is_the_input(tmp_path, name):
    path = made(tmp_path, name)
    served = ServedInput(path, input_identity(path), path.is_dir())
    assert served.is_visible()
    cache = cache_of(served)
    assert cache.find() is None
    assert sent(path, cache) > 3
    cache.complete()
    found = cache_of(served, "another").find()
    assert found is not None and found != path and input_identity(found) == served.identity
    cache.close(discard=True)
    assert cache.find() is None


def test_two_workers_of_a_node_that_are_served_the_same_keep_one(tmp_path):
    path = made(tmp_path, "in.mkv")
    served = ServedInput(path, input_identity(path), is_folder=False)
    first, second = cache_of(served), cache_of(served, "another")
    for cache in (first, second):
        sent(path, cache)
    first.complete()
    kept = first.find().stat().st_ino
    second.complete()
    assert first.find().stat().st_ino == kept  # which a worker may be reading
    first.find().write_bytes(b"the rest of what was removed")
    sent(path, second)
    second.complete()
    assert second.find() is not None
    assert [folder.name.count(".") for folder in second.find().parent.parent.iterdir()] == [0]  # no partial one


def test_a_job_that_ends_leaves_the_same_input_of_another_job(tmp_path):
    path = made(tmp_path, "in.mkv")
    served = ServedInput(path, input_identity(path), is_folder=False)
    ends, goes_on = cache_of(served), cache_of(served, job="other.mkv.job")
    for cache in (ends, goes_on):
        sent(path, cache)
        cache.complete()
    ends.close(discard=True)
    assert ends.find() is None and goes_on.find() is not None


def test_an_input_that_changes_meanwhile_is_refused(tmp_path):
    path = made(tmp_path, "in.mkv")
    served = ServedInput(path, input_identity(path), is_folder=False)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    cache = cache_of(served)
    sent(path, cache)
    with pytest.raises(InputError, match="was changed while it was sent"):
        cache.complete()
    assert cache.find() is None


def test_a_transfer_that_was_broken_off_begins_anew(tmp_path):
    path = made(tmp_path, "in.mkv")
    served = ServedInput(path, input_identity(path), is_folder=False)
    cache, server = cache_of(served), InputServer(path, lambda piece: piece)
    cache.receive(0, server.piece(0))
    sent(path, cache)
    cache.complete()
    assert cache.find() is not None


def test_another_file_under_the_same_path_is_not_taken_for_the_input(tmp_path):
    path = made(tmp_path, "in.mkv")
    served = ServedInput(path, input_identity(path), is_folder=False)
    path.write_bytes(path.read_bytes()[:-1])
    assert not served.is_visible()
    path.unlink()
    assert not served.is_visible()

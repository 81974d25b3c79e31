"""Words of a command line become inputs and outputs, the same ones every time, and nothing is guessed in silence."""

import os
from pathlib import Path

import pytest
from clips import make_video

from patchvsr.errors import InputError, SettingsError
from patchvsr.jobs.batch import Job, find_jobs
from patchvsr.media import open_reader


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Words are relative to an empty folder; only names matter, so the files are empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def outputs(*words: str, output: str = "out", recursive: bool = False) -> dict[str, str]:
    """Output by input, in the order of the jobs."""
    jobs = find_jobs(list(words), Path(output), recursive=recursive)
    return {job.input.as_posix(): job.output.as_posix() for job in jobs}


def notices(*words: str, recursive: bool = False) -> list[str]:
    return [notice for job in find_jobs(list(words), "out", recursive=recursive) for notice in job.notices]


# One input


def test_one_input_goes_to_the_output_as_it_is_named():
    touch("a.mp4", "frames/1.png")
    assert find_jobs(["a.mp4"], "b.mov") == [Job(Path("a.mp4"), Path("b.mov"))]
    assert outputs("a.mp4") == {"a.mp4": "out"}
    assert outputs("frames") == {"frames": "out"}
    assert outputs("frames", output="film.mkv") == {"frames": "film.mkv"}
    assert outputs("frames/%06d.png", output="film.mkv") == {"frames/%06d.png": "film.mkv"}


def test_one_video_goes_into_an_existing_folder():
    touch("a.mp4", "out/b.mkv", "out/cover.png")
    Path("empty").mkdir()
    assert outputs("a.mp4") == {"a.mp4": "out/a.mkv"}
    assert outputs("a.mp4", output="empty") == {"a.mp4": "empty/a.mkv"}


def test_the_same_command_means_the_same_when_its_images_exist_already():
    touch("a.mp4", "out/000001.png", "begun.job/manifest.json")
    Path("begun").mkdir()
    assert outputs("a.mp4") == {"a.mp4": "out"}
    assert outputs("a.mp4", output="begun") == {"a.mp4": "begun"}


def test_any_file_is_taken_when_it_is_named():
    touch("film.dat", ".hidden.mp4")
    assert outputs("film.dat", ".hidden.mp4") == {"film.dat": "out/film.mkv", ".hidden.mp4": "out/.hidden.mkv"}


def test_what_was_found_can_be_read():
    folder = Path("clips [1] ä")
    folder.mkdir()
    make_video(folder / "a b.mp4", count=2)
    (job,) = find_jobs([folder], "out")
    with open_reader(job.input) as reader:
        assert len(list(reader)) == 2


# Several inputs


def test_several_inputs_go_into_a_folder_in_their_order():
    touch("b.mp4", "a.tar.mov", "frames/1.png", "shots/one_0001.png", "shots/photo.png")
    words = ["b.mp4", "a.tar.mov", "frames", "shots/one_%04d.png", "shots/photo.png"]
    assert list(outputs(*words).values()) == ["out/b.mkv", "out/a.tar.mkv", "out/frames", "out/one", "out/photo.png"]
    assert outputs("b.mp4", "frames/%04d.png")["frames/%04d.png"] == "out/frames"


def test_the_same_file_twice_is_one_job(here):
    touch("clips/a.mp4", "b.mp4")
    words = ["clips/a.mp4", "./clips/a.mp4", "b.mp4", "clips/../clips/a.mp4", str(here / "b.mp4"), "clips/*"]
    assert list(outputs(*words).values()) == ["out/a.mkv", "out/b.mkv"]


def test_two_inputs_of_one_output_are_named():
    touch("x/a.mp4", "y/a.mov")
    with pytest.raises(SettingsError, match=r"x/a\.mp4 and y/a\.mov would both become out/a\.mkv"):
        find_jobs(["x/a.mp4", "y/a.mov"], "out")


@pytest.mark.parametrize("output", ["out.mkv", "out.MP4", "out/%06d.png", "file"])
def test_several_inputs_into_one_file_are_refused(output):
    touch("a.mp4", "b.mp4", "file")
    with pytest.raises(SettingsError, match="give a folder"):
        find_jobs(["a.mp4", "b.mp4"], output)


def test_a_folder_may_be_named_like_a_video_or_have_a_dot():
    touch("a.mp4", "b.mp4")
    Path("out.mkv").mkdir()
    assert outputs("a.mp4", "b.mp4", output="out.mkv")["a.mp4"] == "out.mkv/a.mkv"
    assert outputs("a.mp4", "b.mp4", output="Season 1.5")["a.mp4"] == "Season 1.5/a.mkv"


def test_an_output_among_the_inputs_is_refused(here):
    touch("a.mkv", "b.mp4", "clips/c.mp4", "frames/1.png")
    (here / "link").symlink_to("clips")
    for words, output in [
        (["a.mkv"], "a.mkv"),
        (["a.mkv"], "clips/../a.mkv"),
        (["a.mkv", "b.mp4"], "."),
        (["clips"], "clips"),
        (["clips"], "link"),
        (["frames"], "frames"),
        (["frames"], "frames/up_%06d.png"),
        (["frames"], "frames/film.mkv"),
        (["frames/%06d.png"], "frames/%06d.png"),
    ]:
        with pytest.raises(SettingsError, match="among the inputs"):
            find_jobs(words, output)


def test_a_new_name_beside_the_input_is_fine():
    touch("clips/a.mp4", "clips/b.mp4", "frames/1.png")
    assert outputs("clips/a.mp4", output="clips/a.mkv") == {"clips/a.mp4": "clips/a.mkv"}
    assert outputs("clips/*.mp4", output="clips")["clips/b.mp4"] == "clips/b.mkv"
    assert outputs("frames", output="frames.mkv") == {"frames": "frames.mkv"}


# Folders


def test_a_folder_of_videos_is_taken_in_natural_order():
    touch("in/clip 10.mp4", "in/clip 2.MOV", "in/Clip 1.webm", "in/notes.txt", "in/clip 2.srt", "in/.hidden.mp4")
    assert list(outputs("in").items()) == [
        ("in/Clip 1.webm", "out/Clip 1.mkv"),
        ("in/clip 2.MOV", "out/clip 2.mkv"),
        ("in/clip 10.mp4", "out/clip 10.mkv"),
    ]
    assert notices("in") == []


def test_a_folder_of_one_video_needs_a_folder_too():
    touch("in/a.mp4")
    assert outputs("in") == {"in/a.mp4": "out/a.mkv"}
    with pytest.raises(SettingsError, match="found by a pattern or in a folder"):
        find_jobs(["in"], "out.mkv")


def test_several_folders_keep_their_names():
    touch("s1/01.mp4", "s2/01.mp4", "one.mp4")
    assert list(outputs("s1", "s2/", "one.mp4").values()) == ["out/s1/01.mkv", "out/s2/01.mkv", "out/one.mkv"]


def test_the_current_folder_has_a_name(monkeypatch):
    touch("clips/a.mp4", "clips/b.mp4", "c.mp4")
    monkeypatch.chdir("clips")
    assert outputs(".", "../c.mp4", output="../out")["a.mp4"] == "../out/clips/a.mkv"
    assert outputs(".", output="../out")["a.mp4"] == "../out/a.mkv"


def test_images_beside_videos_are_left_alone_and_named():
    touch("in/a.mp4", "in/cover.jpg", "in/poster.png")
    assert outputs("in") == {"in/a.mp4": "out/a.mkv"}
    assert notices("in") == ["not upscaled: 2 images of in (poster.png, cover.jpg)"]


def test_images_that_are_no_frames_are_named_too():
    touch("in/frames/1.png", "in/frames/thumb.jpg", *(f"in/posters/{name}.webp" for name in "abcd"))
    assert outputs("in", recursive=True) == {"in/frames": "out/frames"}
    assert notices("in", recursive=True) == [
        "not upscaled: 1 image of in/frames (thumb.jpg)",
        "not upscaled: 4 images of in/posters (a.webp, b.webp, c.webp, ...)",
    ]
    with pytest.raises(InputError, match="no image sequence"):
        find_jobs(["in/posters"], "out")


def test_single_images_stay_images():
    touch("a.jpg", "b.EXR", "c.mp4")
    assert list(outputs("a.jpg", "b.EXR", "c.mp4").values()) == ["out/a.png", "out/b.EXR", "out/c.mkv"]


def test_notices_are_not_lost_when_a_file_is_given_twice():
    touch("in/a.mp4", "in/b.mp4", "in/cover.jpg")
    assert list(outputs("in/a.mp4", "in")) == ["in/a.mp4", "in/b.mp4"]
    assert notices("in/a.mp4", "in") == ["not upscaled: 1 image of in (cover.jpg)"]


def test_subfolders_not_looked_into_are_mentioned():
    touch("in/a.mp4", "in/extras/b.mp4", "in/.cache/c.mp4")
    assert outputs("in") == {"in/a.mp4": "out/a.mkv"}
    assert notices("in") == ["not searched: 1 subfolder of in; use --recursive"]
    assert notices("in", recursive=True) == []


def test_a_tree_is_mirrored_sequences_included():
    touch("in/2.mp4", "in/10.mp4", "in/s 1/e[1].mkv", "in/s 1/cover.png", "in/s 1/frames/1.png", "in/empty/x.txt")
    assert list(outputs("in", recursive=True).items()) == [
        ("in/2.mp4", "out/2.mkv"),
        ("in/10.mp4", "out/10.mkv"),
        ("in/s 1/e[1].mkv", "out/s 1/e[1].mkv"),
        ("in/s 1/frames", "out/s 1/frames"),
    ]
    assert notices("in", recursive=True) == ["not upscaled: 1 image of in/s 1 (cover.png)"]


def test_a_tree_with_one_sequence_is_that_sequence():
    touch("in/1.png")
    assert outputs("in", output="film.mkv", recursive=True) == {"in": "film.mkv"}
    touch("in/more/1.png")
    assert outputs("in", recursive=True) == {"in": "out", "in/more": "out/more"}


def test_job_folders_and_the_output_are_passed_over():
    touch("in/a.mp4", "in/a.mkv.job/manifest.json", "in/a.mkv.job/0.mkv", "in/my.job/b.mp4", "in/out/a.mkv")
    expected = {"in/a.mp4": "in/out/a.mkv", "in/my.job/b.mp4": "in/out/my.job/b.mkv"}
    assert outputs("in", output="in/out", recursive=True) == expected
    assert list(outputs("in/**/*.m*", output="in/out")) == list(expected)


def test_a_folder_with_nothing_usable_says_what_was_looked_for():
    touch("in/notes.txt", "in/deep/a.mp4", "bare/x/notes.txt")
    with pytest.raises(InputError, match=r"in: holds no video \(.*\.mp4.*\.png.*--recursive"):
        find_jobs(["in"], "out")
    with pytest.raises(InputError, match=r"bare: holds no video.*another folder$"):
        find_jobs(["bare"], "out", recursive=True)


def test_links_are_followed_and_loops_end(here):
    touch("in/a/x.mp4", "in/b/y.mp4", "elsewhere/z.mp4")
    for link, target in {
        "in/a/up": "..", "in/a/b": "../b", "in/b/a": "../a", "in/self": "self", "in/far": "../elsewhere",
        "in/elsewhere": "../elsewhere", "elsewhere/back": "../in",
    }.items():  # fmt: skip
        (here / link).symlink_to(target)
    assert list(outputs("in", recursive=True)) == ["in/a/x.mp4", "in/b/y.mp4", "in/elsewhere/z.mp4"]
    assert set(outputs("in/**/*.mp4")) >= {"in/a/x.mp4", "in/b/y.mp4"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named():
    touch("in/a.mp4", "in/locked/b.mp4")
    Path("in/locked").chmod(0)
    try:
        with pytest.raises(InputError, match="in/locked: cannot be read"):
            find_jobs(["in"], "out", recursive=True)
    finally:
        Path("in/locked").chmod(0o700)


# Patterns


def test_a_pattern_is_expanded_in_natural_order(here):
    touch("clips/10.mp4", "clips/2.mp4", "clips/.1.mp4", "clips/3.mov", "clips/deep/4.mp4")
    assert outputs("clips/*.mp4") == {"clips/2.mp4": "out/2.mkv", "clips/10.mp4": "out/10.mkv"}
    assert list(outputs("clips/**/*.mp4")) == ["clips/2.mp4", "clips/10.mp4", "clips/deep/4.mp4"]
    assert list(outputs(f"{here}/c*/?.m[op][v4]")) == [f"{here}/clips/2.mp4", f"{here}/clips/3.mov"]
    assert outputs("cl*") == {f"clips/{name}": f"out/{Path(name).stem}.mkv" for name in ("2.mp4", "3.mov", "10.mp4")}


def test_a_pattern_goes_into_a_folder_even_if_it_fits_one_file():
    touch("clips/a.mp4")
    assert outputs("clips/*") == {"clips/a.mp4": "out/a.mkv"}
    with pytest.raises(SettingsError, match="give a folder"):
        find_jobs(["clips/*"], "out.mkv")


def test_an_existing_name_is_no_pattern():
    touch("a[1].mp4", "a1.mp4", "what?/b*.mp4", "what?/bb.mp4", "whats/b.mp4", "100%d.png")
    assert outputs("a[1].mp4", output="x.mkv") == {"a[1].mp4": "x.mkv"}
    assert outputs("what?/b*.mp4", output="x.mkv") == {"what?/b*.mp4": "x.mkv"}
    assert list(outputs("what?/*.mp4")) == ["what?/b*.mp4", "what?/bb.mp4"]
    assert outputs("100%d.png", "a1.mp4")["100%d.png"] == "out/100%d.png"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no input"),
        (["nope.mp4"], r"nope\.mp4: no such file or folder"),
        (["no/such/clip.mp4"], "no such file or folder"),
        (["*.mp4"], r"\*\.mp4: nothing matches"),
        (["x**/a.mp4"], "nothing matches|only between slashes"),
        (["x" * 300], "no such file or folder"),
    ],
)
def test_nothing_to_be_found_is_an_error(words, message):
    with pytest.raises(InputError, match=message):
        find_jobs(words, "out")


def test_single_images_are_pointed_out():
    touch("in/1.png", "in/2.png")
    assert outputs("in/*.png") == {"in/1.png": "out/1.png", "in/2.png": "out/2.png"}
    assert "2 images are upscaled one by one" in notices("in/*.png")[0]
    assert notices("in/1.png") == notices("in") == []

"""However a job is stopped, the same call goes on, to the bytes of one that was not; and it knows what it has done."""

import shutil
from contextlib import closing

import pytest
import torch
import toy
from jobfiles import NARROW, digest, events, make_shots, run
from test_folder import STRANGERS

from patchvsr.errors import JobError, OutputError
from patchvsr.events import Assembling, Finished, Planned, Progress, Scanning, Started, Stopped
from patchvsr.jobs import identity
from patchvsr.jobs.folder import JobFolder
from patchvsr.media import open_reader

OPEN_GOP = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:scenecut=0:bframes=3"}


@pytest.fixture(scope="module")
def pipeline():
    """With `strength`, a single step hands latents on from unit to unit."""
    return toy.pipeline(num_inference_steps=1, strength=0.5)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def one_unit_at_a_time(source, target, pipeline, **settings):
    """Stopped before each second unit of a run, and started again; returns the number of runs."""
    for runs in range(1, 100):
        asked = iter([False] + [True] * 100)
        last = run(source, target, pipeline, stop=lambda expected_s, asked=asked: next(asked), **settings)[-1]
        if isinstance(last, Finished):
            return runs
        assert isinstance(last, Stopped) and last.units_done == runs
        assert not target.exists()
    raise AssertionError("never finished")


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, {}),
        ({}, dict(overlap_frames=5, chunk_frames=9)),
        (OPEN_GOP, dict(start_s=0.12, end_s=1.2)),
        (OPEN_GOP, dict(color_match=False, deinterlace="field")),
    ],
    ids=["shots", "overlap", "open-gop-range", "deinterlaced"],
)
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out"])
def test_stopped_after_every_unit(tmp_path, pipeline, name, options, settings, steps):
    settings = settings | dict(num_inference_steps=steps)
    source = make_shots(tmp_path / "in.mkv", (25, 10), size=NARROW, audio=name != "out.mp4", **options)
    run(source, tmp_path / "whole" / name, pipeline, **settings)
    runs = one_unit_at_a_time(source, tmp_path / "stopped" / name, pipeline, **settings)
    assert runs > 2
    assert digest(tmp_path / "stopped" / name) == digest(tmp_path / "whole" / name)


def test_stopped_after_every_unit_where_no_latents_are_handed_on(tmp_path, pipeline):
    """In a single step from noise alone."""
    source = make_shots(tmp_path / "in.mkv", (25, 10), size=NARROW)
    run(source, tmp_path / "whole.mkv", pipeline, strength=1.0)
    assert one_unit_at_a_time(source, tmp_path / "stopped.mkv", pipeline, strength=1.0) > 2
    assert digest(tmp_path / "stopped.mkv") == digest(tmp_path / "whole.mkv")


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_what_is_handed_on_is_needed(tmp_path, pipeline, source, whole, damage):
    """Without what the first unit hands on, the second would be another."""
    target = tmp_path / "out.mkv"
    asked = iter([False, True])
    run(source, target, pipeline, stop=lambda expected_s: next(asked))
    handed = JobFolder(target).path / "unit-00000.safetensors"
    assert handed.is_file()
    handed.unlink() if damage == "gone" else handed.write_bytes(handed.read_bytes()[:-9])
    with pytest.raises(JobError, match=r"unit-00000\.safetensors: cannot be read; remove unit-00000\.bin and run"):
        run(source, target, pipeline)
    JobFolder(target).segment_path(0).unlink()
    run(source, target, pipeline)
    assert digest(target) == whole


@pytest.mark.parametrize("given", [None, 0.25])
def test_a_shot_has_one_restoration(tmp_path, pipeline, source, given):
    """Over all its chunks and the ends of units, however often the job was stopped."""
    target = tmp_path / "out.mkv"
    runs = one_unit_at_a_time(source, target, pipeline, num_inference_steps=0, restoration=given)
    folder = JobFolder(target)
    units, efforts = folder.read_manifest().units(), folder.read_efforts()
    pairs = [
        (chunk, restoration)
        for unit, effort in zip(units, efforts, strict=True)
        for chunk, restoration in zip(unit.chunks, effort["restoration"], strict=True)
    ]
    of_shots: list[list[float]] = []
    for chunk, restoration in pairs:
        of_shots = of_shots if chunk.shared else [*of_shots, []]
        of_shots[-1].append(restoration)
    assert runs > 1 and len(of_shots) > 1 and max(map(len, of_shots)) > 1
    assert all(len(set(shot)) == 1 for shot in of_shots)
    assert given is None or {shot[0] for shot in of_shots} == {given}


def test_a_shot_is_judged_by_more_than_its_first_frames(tmp_path, pipeline, source, monkeypatch):
    """The first shot by three runs of five frames, the short ones by one; each shot once, at its start."""
    autoencoder, asked = pipeline.vae, []
    original = autoencoder.estimate_restoration

    def remember(canvas, scale):
        asked.append(canvas[0, 0].mean(dim=(1, 2)))
        return original(canvas, scale)

    monkeypatch.setattr(autoencoder, "estimate_restoration", remember)
    run(source, tmp_path / "out.mkv", pipeline, num_inference_steps=0)
    with open_reader(source) as reader:
        brightness = torch.tensor([frame.rgb[..., 0].mean() for frame in reader], dtype=torch.float32)
    starts = (0, 8, 16, 21, 23, 29)
    assert [len(frames) for frames in asked] == [5, 5, 5, 2, 5, 5]
    for frames, start in zip(asked, starts, strict=True):
        shown = brightness[start : start + len(frames)] / 127.5 - 1
        torch.testing.assert_close(frames, shown, rtol=0, atol=0.01)


def test_an_image_sequence_goes_on(tmp_path, pipeline, source):
    run(source, tmp_path / "images", pipeline, num_inference_steps=0, scale=1.0)
    run(tmp_path / "images", tmp_path / "whole", pipeline)
    one_unit_at_a_time(tmp_path / "images", tmp_path / "stopped", pipeline)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")


def broken_off(events, kind, error=None):
    """Goes to the second event of a kind, or the first if there is one, and ends there: closed, or by an error."""
    with closing(events):
        seen = 0
        for event in events:
            seen += isinstance(event, kind)
            if seen == (1 if kind in (Started, Planned, Assembling) else 2):
                if error is not None:
                    with pytest.raises(type(error)):
                        events.throw(error)
                return
    raise AssertionError("it never came")


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("kind", [Started, Scanning, Planned, Progress, Assembling])
def test_broken_off_anywhere(tmp_path, pipeline, source, whole, kind, error):
    target = tmp_path / "out.mkv"
    broken_off(events(source, target, pipeline), kind, error)
    assert not target.exists()
    assert names(tmp_path) == ([] if kind in (Started, Scanning) else ["out.mkv.job"])
    run(source, target, pipeline)
    assert digest(target) == whole
    assert names(JobFolder(target).path) == ["manifest.json", "result.json"]


@pytest.mark.parametrize("name", ["out.mkv", "images"])
def test_every_moment_of_the_end(tmp_path, pipeline, source, name, monkeypatch):
    """The job's folder and the output as they are before every removal and every new name: all of them can go on."""
    folder, moments = tmp_path / "run", []

    def remember(*args, action, **kwargs):
        moments.append(tmp_path / f"moment-{len(moments)}")
        shutil.copytree(folder, moments[-1])
        return action(*args, **kwargs)

    path = type(tmp_path)
    for action in ("replace", "unlink", "rmdir"):
        original = getattr(path, action)
        monkeypatch.setattr(path, action, lambda *a, original=original, **k: remember(*a, action=original, **k))
    going = events(source, folder / name, pipeline, num_inference_steps=0)
    for _ in going:
        pass
    monkeypatch.undo()
    expected = digest(folder / name)
    assert len(moments) > 15
    last = next(moment for moment in moments if (moment / f"{name}.job" / "result.json.tmp").exists())
    for moment in moments[moments.index(last) :: 1 if name == "out.mkv" else 5]:
        run(source, moment / name, pipeline, num_inference_steps=0)
        assert digest(moment / name) == expected, moment
        assert names(moment / f"{name}.job") == ["manifest.json", "result.json"]


CHANGES = [
    (dict(seed=1), "settings.seed was 0, is 1"),
    (dict(scale=3.0), "settings.output_size was 64x80, is 96x120"),
    (dict(num_inference_steps=2), "settings.num_inference_steps was 1, is 2"),
    (dict(joint_mode="independent"), "settings.joint_mode was auxiliary, is independent"),
    (dict(branch_scale=0.5), "settings.branch_scale was 1.0, is 0.5"),
    (dict(restoration=0.5), "settings.restoration was not set, is 0.5"),
    (dict(noise_timestep=7.0), "settings.noise_timestep was"),
    (dict(color_match=False), "settings.color_match was True, is False"),
    (dict(chunk_frames=9), "settings.chunk_frames was 5, is 9"),
    (dict(unit_frames=10), "settings.unit_frames was 9, is 10"),
    (dict(end_s=1.0), "settings.end_s was not set, is 1.0"),
    (dict(deinterlace="off"), "settings.deinterlace was not set, is off"),
    (dict(crf=20), "settings.output.options.crf was"),
    (dict(codec="ffv1"), "settings.output.encoder was libx264, is ffv1"),
    (dict(skip_streams=(1,)), "settings.output.skip_streams was [], is [1]"),
]


@pytest.fixture(scope="module")
def begun(source, pipeline):
    """An output of which one unit is done."""
    target = source.with_name("begun.mkv")
    asked = iter([False, True])
    run(source, target, pipeline, stop=lambda expected_s: next(asked))
    return target


@pytest.fixture
def unfinished(begun, tmp_path):
    shutil.copytree(JobFolder(begun).path, tmp_path / "out.mkv.job")
    return tmp_path / "out.mkv"


def refused(source, target, pipeline, line, **settings):
    """The job is refused in one line, also with overwrite, and nothing of its folder changes."""
    folder = JobFolder(target).path
    before = {file: file.read_bytes() for file in folder.iterdir()}
    for overwrite in (False, True):
        with pytest.raises(JobError) as caught:
            run(source, target, pipeline, overwrite=overwrite, **settings)
        assert line in str(caught.value) and "unfinished work of another job" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert not target.exists()


@pytest.mark.parametrize(("settings", "line"), CHANGES, ids=lambda value: next(iter(value)) if value else "")
def test_changed_settings_are_refused(unfinished, pipeline, source, settings, line):
    refused(source, unfinished, pipeline, line, **settings)


def test_a_changed_input_is_refused(tmp_path, unfinished, pipeline):
    other = make_shots(tmp_path / "other.mkv", (12, 22), size=NARROW)
    refused(other, unfinished, pipeline, "input.sha256 was ")


def test_a_changed_model_is_refused(unfinished, pipeline, source):
    refused(source, unfinished, toy.pipeline(num_inference_steps=1, noise_timestep=9.0), "model.sha256 was ")
    other = toy.pipeline(num_inference_steps=1)
    next(other.vae.parameters()).data.view(-1)[0] += 1
    refused(source, unfinished, other, "model.sha256 was ")


def test_a_changed_dtype_is_refused(unfinished, pipeline, source):
    """As on a machine with another default."""
    other = toy.pipeline(num_inference_steps=1).to(torch.bfloat16)
    refused(source, unfinished, other, "settings.dtype was float32, is bfloat16")


def test_a_changed_version_is_refused(unfinished, pipeline, source, monkeypatch):
    monkeypatch.setattr(identity, "__version__", "99.0")
    refused(source, unfinished, pipeline, "versions.patchvsr was ")


def test_what_does_not_shape_the_output_may_change(unfinished, pipeline, source, whole):
    run(source, unfinished, pipeline, batch_size=2, tile_px=64, overwrite=True)
    assert digest(unfinished) == whole


def test_an_input_that_moved_is_the_same(tmp_path, unfinished, pipeline, source, whole):
    moved = shutil.copy(source, tmp_path / "moved.mkv")
    run(moved, unfinished, pipeline)
    assert digest(unfinished) == whole


def test_a_finished_job_knows_it(tmp_path, pipeline, source, whole):
    target = tmp_path / "out.mkv"
    run(source, target, pipeline)
    written_at = target.stat().st_mtime_ns
    for overwrite in (False, True):
        found = run(source, target, pipeline, overwrite=overwrite)
        assert [type(event) for event in found] == [Started, Finished]
        assert found[-1].already_done and found[-1].frames == 34
    assert target.stat().st_mtime_ns == written_at

    with pytest.raises(OutputError, match="already exists; use --overwrite"):  # another job
        run(source, target, pipeline, seed=1)
    with closing(events(source, target, pipeline, seed=1, overwrite=True)) as looking:
        assert any(isinstance(event, Scanning) for event in looking)
    assert run(source, target, pipeline)[-1].already_done  # neither did harm to the record of the first
    run(source, target, pipeline, seed=1, overwrite=True)
    assert digest(target) != whole

    target.unlink()
    assert not run(source, target, pipeline)[-1].already_done
    assert digest(target) == whole


def test_a_finished_output_that_was_cut_is_not_taken_for_whole(tmp_path, pipeline, source, whole):
    target = tmp_path / "out.mkv"
    run(source, target, pipeline)
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(OutputError, match="already exists; use --overwrite"):
        run(source, target, pipeline)
    run(source, target, pipeline, overwrite=True)
    assert digest(target) == whole


@pytest.mark.parametrize("kind", [Scanning, Progress, Assembling])
def test_an_output_that_appears_meanwhile_is_kept(tmp_path, pipeline, source, whole, kind):
    target = tmp_path / "out.mkv"
    with pytest.raises(OutputError, match="already exists; use --overwrite"):
        for event in events(source, target, pipeline):
            if isinstance(event, kind):
                target.write_bytes(b"precious")
    for _ in range(2):
        with pytest.raises(OutputError, match="already exists; use --overwrite"):
            run(source, target, pipeline)
    assert target.read_bytes() == b"precious"
    run(source, target, pipeline, overwrite=True)
    assert digest(target) == whole


def test_strangers_in_the_folder_survive_the_whole_job(tmp_path, pipeline, source, whole):
    target = tmp_path / "out.mkv"
    for name in STRANGERS:
        (JobFolder(target).path / name).parent.mkdir(parents=True, exist_ok=True)
        (JobFolder(target).path / name).write_text("mine")
    broken_off(events(source, target, pipeline), Started, KeyboardInterrupt())
    broken_off(events(source, target, pipeline), Progress, KeyboardInterrupt())
    run(source, target, pipeline)
    assert run(source, target, pipeline)[-1].already_done
    target.unlink()
    run(source, target, pipeline)
    assert digest(target) == whole
    assert all((JobFolder(target).path / name).read_text() == "mine" for name in STRANGERS)


def test_a_damaged_unit_is_told_and_can_be_done_again(unfinished, pipeline, source, whole):
    unit = JobFolder(unfinished).segment_path(0)
    data = bytearray(unit.read_bytes())
    data[len(data) // 2] ^= 1
    unit.write_bytes(data)
    with pytest.raises(OutputError, match=r"unit-00000\.bin: is damaged; remove it and run the same command again"):
        run(source, unfinished, pipeline)
    unit.unlink()
    run(source, unfinished, pipeline)
    assert digest(unfinished) == whole


def test_units_without_a_manifest_are_not_taken(unfinished, pipeline, source, whole):
    """Nobody knows with which settings they were made."""
    (JobFolder(unfinished).path / "manifest.json").unlink()
    run(source, unfinished, pipeline, seed=1)
    assert digest(unfinished) != whole
    planned = [event for event in run(source, unfinished, pipeline, overwrite=True) if isinstance(event, Planned)]
    assert planned[0].units_done == 0
    assert digest(unfinished) == whole

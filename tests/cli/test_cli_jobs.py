"""Jobs as users run them: batches, deadlines, reports, verification and interrupts, with their exit codes and lines."""

from __future__ import annotations

import json
import re
import shutil
import signal
from contextlib import closing
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
import toy
from clips import make_video
from forked_command import Forked
from jobfiles import digest, make_shots

from patchvsr.cli.display import Display
from patchvsr.cli.upscale import Run
from patchvsr.events import Planned, Progress, Stopped
from patchvsr.jobs.batch import find_jobs
from patchvsr.jobs.clock import Until
from patchvsr.loading import load_pipeline
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

FAST = UpscaleSettings.of(scale=2, num_inference_steps=0)


class Said(NamedTuple):
    code: int
    lines: list[str]
    events: list[dict]

    def kinds(self) -> list[str]:
        """Of events, those of every frame aside."""
        return [e["event"] for e in self.events if e["event"] not in ("scanning", "progress", "assembling", "planned")]


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline()


@pytest.fixture
def patchvsr(model, tmp_path, monkeypatch, patchvsr):
    """The whole command, exit code and all, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *words: object) -> Said:
        shaping = ["--model", model, "--steps", 0, "-s", 2] if command == "upscale" else []
        code, out, err = patchvsr(command, *words, *shaping)
        events = [json.loads(line) for line in out.splitlines()] if "--json" in words else []
        return Said(code, [*([] if events else out.splitlines()), *err.splitlines()], events)

    return run


def clip(name: str, count: int = 3, **settings) -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    return make_video(Path(name), count=count, size=(48, 48), **settings)


# Batches


def test_a_tree_is_mirrored_one_bad_file_stops_nothing_and_nothing_is_done_twice(patchvsr):
    for name in ("in/a  b.mp4", "in/ä [1] :smile:.mkv", "in/deep er/c.mov"):
        clip(name)
    Path("in/bad.mp4").write_text("no video")
    first = patchvsr("upscale", "in", "-o", "out", "--recursive")
    assert first.code == 1
    assert first.lines[-1] == "3 of 4 done, 1 failed: in/bad.mp4"
    assert [line for line in first.lines if line.startswith("failed: in/bad.mp4: not a readable media file")]
    assert "in/ä [1] :smile:.mkv (48x48) -> out/ä [1] :smile:.mkv (96x96)" in first.lines
    made = {file: file.stat().st_mtime_ns for file in Path("out").rglob("*.mkv") if file.is_file()}
    assert sorted(map(str, made)) == ["out/a  b.mkv", "out/deep er/c.mkv", "out/ä [1] :smile:.mkv"]

    Path("in/bad.mp4").unlink()
    again = patchvsr("upscale", "in", "-o", "out", "--recursive")
    assert again.code == 0
    assert sum("already done" in line for line in again.lines) == 3
    clip("in/new.mkv")
    added = patchvsr("upscale", "in", "-o", "out", "--recursive", "--json")
    assert added.code == 0
    assert [Path(e["output"]).name for e in added.events if e["event"] == "finished" and not e["already_done"]] == [
        "new.mkv"
    ]
    assert len(added.events[-1]["finished"]) == 4
    assert {file: file.stat().st_mtime_ns for file in made} == made


def test_every_file_of_a_batch_is_what_it_is_alone(patchvsr):
    for number, name in enumerate("abc"):
        make_shots(Path(f"{name}.mkv"), (number, 5 + number))
    assert patchvsr("upscale", "a.mkv", "b.mkv", "c.mkv", "-o", "together").code == 0
    for name in "abc":
        assert patchvsr("upscale", f"{name}.mkv", "-o", f"{name}_alone.mkv").code == 0
        assert digest(Path("together", f"{name}.mkv")) == digest(Path(f"{name}_alone.mkv"))
    assert len({digest(Path(f"{name}_alone.mkv")) for name in "abc"}) == 3


def test_a_quoted_pattern_and_json_events_of_a_failure(patchvsr):
    clip("in/a.mkv")
    Path("in/b.mkv").write_text("no video")
    done = patchvsr("upscale", "in/*.mkv", "-o", "out", "--json")
    assert done.code == 1
    assert done.kinds() == ["started", "finished", "failed", "summary"]
    assert done.events[-1] == {"event": "summary", "finished": ["in/a.mkv"], "failed": ["in/b.mkv"], "left": []}
    assert done.lines == []


def test_a_single_bad_input_is_wrong_usage_in_one_line_and_an_event(patchvsr):
    Path("b.mkv").write_text("no video")
    assert patchvsr("upscale", "b.mkv", "-o", "out.mkv").code == 2
    done = patchvsr("upscale", "b.mkv", "-o", "out.mkv", "--json")
    assert done.code == 2
    assert done.kinds() == ["failed"]
    assert len(done.lines) == 1
    assert not Path("out.mkv.job").exists()


def test_wrong_usage_of_a_batch_is_refused_once(patchvsr):
    clip("in/a.mkv")
    clip("in/b.mkv")
    both = patchvsr("upscale", "in", "-o", "out", "--size", "96x96")  # and a scale
    assert both == (2, ["patchvsr: give scale or size, not both"], [])
    one = patchvsr("upscale", "in", "-o", "out.mkv")
    assert one == (2, ["patchvsr: 2 inputs cannot go into the one file out.mkv: give a folder"], [])


def test_a_batch_goes_on_with_an_unfinished_job_and_past_one_in_use(patchvsr, model):
    for name in "ab":
        clip(f"in/{name}.mkv", count=60)
    config = UpscaleSettings.of(scale=2, num_inference_steps=0, model=str(model))
    Path("out").mkdir()
    with closing(upscale("in/a.mkv", "out/a.mkv", config, pipeline=load_pipeline(config.restore))) as other:
        next(event for event in other if isinstance(event, Progress) and event.frames == 60)
        in_use = patchvsr("upscale", "in", "-o", "out")
    assert in_use.code == 1
    assert "failed: out/a.mkv.job: another process is working on this job; wait for it or stop it" in in_use.lines
    assert in_use.lines[-1] == "1 of 2 done, 1 failed: in/a.mkv"
    went_on = patchvsr("upscale", "in", "-o", "out")
    assert went_on.code == 0
    assert "resuming: 1 of 2 units are done" in went_on.lines
    assert "out/b.mkv: already done, 60 frames" in went_on.lines


def test_plans_of_a_batch_tell_what_fails_and_write_nothing(patchvsr):
    clip("in/a.mkv")
    Path("in/b.mkv").write_text("no video")
    done = patchvsr("upscale", "in", "-o", "out", "--plan", "--json")
    assert done.code == 1
    assert done.kinds() == ["plan", "failed", "sum"]
    assert done.events[0]["frames"] == 3
    assert not Path("out").exists()
    Path("in/a.mkv").write_text("no video either")
    assert patchvsr("upscale", "in", "-o", "out", "--plan", "--json").kinds() == ["failed", "failed"]


# Deadlines


@pytest.mark.parametrize("time", ["7", "24:00", "now", ""])
def test_a_bad_time_is_refused(patchvsr, time):
    clip("a.mkv")
    done = patchvsr("upscale", "a.mkv", "-o", "out.mkv", "--until", time)
    assert done.code == 2
    assert done.lines == [
        f"patchvsr: time {time!r} is not understood: give HH:MM from 00:00 to 23:59, for example 07:00"
    ]


def test_a_deadline_in_the_future_changes_nothing(patchvsr):
    clip("a.mkv")
    later = datetime.now() + timedelta(hours=12)
    assert patchvsr("upscale", "a.mkv", "-o", "out.mkv", "--until", f"{later:%H:%M}").code == 0


def test_after_the_deadline_nothing_starts_and_the_same_call_goes_on(tmp_path, monkeypatch, model, capsys):
    monkeypatch.chdir(tmp_path)
    clip("in/a.mkv")
    clip("in/b.mkv")
    config = UpscaleSettings.of(scale=2, num_inference_steps=0, model=str(model))
    jobs = find_jobs(["in"], "out")
    late = Run(config, jobs, Display(False), Until(datetime.now() - timedelta(seconds=1)), None, report=False)
    late.all(lambda: False)
    assert not late.all_done
    assert capsys.readouterr().err.splitlines() == ["0 of 2 done, 2 not finished: run the same command again to resume"]
    assert not Path("out").exists()
    run = Run(config, jobs, Display(False), Until(datetime.now() + timedelta(hours=1)), None, report=False)
    run.all(lambda: False)
    assert run.all_done


def test_a_unit_that_would_end_too_late_is_not_started_not_even_the_first_of_a_later_run(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=110, size=(48, 48))
    expected: list[float | None] = []

    def stop_before_known(seconds: float | None) -> bool:
        expected.append(seconds)
        return seconds is not None

    for done in (1, 1):
        *_, last = upscale(source, tmp_path / "out.mkv", FAST, pipeline=pipeline, stop=stop_before_known)
        assert last == Stopped(str(tmp_path / "out.mkv"), units=3, units_done=done)
    assert expected[0] is None
    assert len(expected) == 3
    assert min(expected[1:]) > 0
    events = list(upscale(source, tmp_path / "out.mkv", FAST, pipeline=pipeline))
    assert next(e for e in events if isinstance(e, Planned)).units_done == 1
    assert events[-1].frames == 110


# Reports


@pytest.mark.parametrize("output", ["out.mkv", "frames", "numbered/%03d.png"])
def test_a_report_holds_everything_also_of_a_job_that_was_finished_before(patchvsr, output):
    clip("in.mkv", count=8, audio=True)
    words = ["upscale", "in.mkv", "-o", output, "--scale", "5", "--start", "0.08", "--end", "0.28"]
    assert patchvsr(*words).code == 0
    done = patchvsr(*words, "--report")
    assert done.code == 0
    path = Path(done.lines[-1].removeprefix("report: "))
    assert path.name == f"{Path(output).name.replace('%', '')}.report.json"
    report = json.loads(path.read_text())
    job, measures = report["job"], report["measures"]
    assert job["frames"] == measures["frames"] == 5
    assert job["settings"]["start_s"] == 0.08
    assert job["versions"]["av"] == av.__version__
    assert len(job["input"]["sha256"]) == len(job["model"]["sha256"]) == 64
    assert [unit["frames"] for unit in job["units"]] == [5]
    assert job["units"][0]["seconds"] > 0
    assert measures["seams"]["output"]["worst_patch_line"] > 0  # of patches of 64 pixels: this model's, not the usual
    assert measures["flicker"]["pairs"] == 4
    assert measures["chroma_difference_levels"] >= 0


def test_reports_of_image_sequences_and_deinterlaced_video(patchvsr):
    clip("in.mkv", count=4)
    assert patchvsr("upscale", "in.mkv", "-o", "frames").code == 0
    assert patchvsr("upscale", "frames", "-o", "out.mkv", "--rate", "30", "--report").code == 0
    assert json.loads(Path("out.mkv.report.json").read_text())["measures"]["frames"] == 4
    make_video(Path("tv.mkv"), count=4, options={"x264-params": "interlaced=1"})
    assert patchvsr("upscale", "tv.mkv", "-o", "tv2.mkv", "--deinterlace", "field", "--report").code == 0
    assert json.loads(Path("tv2.mkv.report.json").read_text())["measures"]["frames"] == 8


# Verification


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pipeline) -> Path:
    """A folder with two finished jobs, a video and images."""
    folder = tmp_path_factory.mktemp("finished")
    source = make_video(folder / "in.mkv", count=6, size=(48, 48), audio=True, subtitles=True, attachment=True)
    for name in ("out.mkv", "images"):
        list(upscale(source, folder / name, FAST, pipeline=pipeline))
    return folder


@pytest.fixture
def outputs(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def packet_place(path: Path, kind: str) -> int:
    with av.open(str(path)) as container:
        packet = [p for p in container.demux() if p.size and p.stream.type == kind][1]
        return path.read_bytes().index(bytes(packet))


def test_what_was_not_touched_verifies_also_elsewhere(patchvsr, outputs):
    done = patchvsr("verify", "out.mkv")
    assert done == (0, ["out.mkv: 6 frames and 3 other streams match the record"], [])
    assert patchvsr("verify", "images").code == 0
    Path("out.mkv").rename("moved.mkv")
    assert patchvsr("verify", "moved.mkv").code == 2
    assert patchvsr("verify", "moved.mkv", "--job", "out.mkv.job").code == 0


def test_verify_deep_compares_pictures_with_the_input(patchvsr, outputs, finished):
    done = patchvsr("verify", "out.mkv", "--deep")
    assert done.code == 0
    assert done.lines[1:] == ["out.mkv: every frame shows what its input frame shows"]
    done = patchvsr("verify", "out.mkv", "--deep", "--input", "images/000001.png")
    assert done.code == 2
    assert "is not the input of this job" in done.lines[0]
    flip(Path("out.mkv"), packet_place(Path("out.mkv"), "video") + 8)
    assert patchvsr("verify", "out.mkv", "--deep").code == 1


DIFFERENCES = {
    "a bit of a frame": (lambda f: flip(f, packet_place(f, "video") + 8), "out.mkv", r"frame \d is not the one"),
    "a bit of sound": (lambda f: flip(f, packet_place(f, "audio") + 8), "out.mkv", r"stream 1 \(audio\) is not"),
    "a bit of text": (lambda f: flip(f, packet_place(f, "subtitle")), "out.mkv", r"stream 2 \(subtitle\) is not"),
    "the time of a frame": (lambda f: flip(f, packet_place(f, "video") - 2), "out.mkv", r"the time of frame \d is not"),
    "the time of sound": (lambda f: flip(f, packet_place(f, "audio") - 2), "out.mkv", r"stream 1 \(audio\) is not"),
    "a font": (lambda f: flip(f, f.read_bytes().index(b"not really")), "out.mkv", r"stream 3 \(attachment\) is not"),
    "nothing there": (Path.unlink, "out.mkv", "it does not exist"),
    "cut": (lambda f: f.write_bytes(f.read_bytes()[:3000]), "out.mkv", "6 frames were written, . are there"),
    "no video at all": (lambda f: f.write_text("gone"), "out.mkv", "differs: not a readable media file"),
    "a bit of an image": (lambda f: flip(f / "000002.png", 99), "images", "frame 1 is not the one"),
    "an image is missing": (lambda f: (f / "000002.png").unlink(), "images", "6 frames were written, 5 are there"),
    "no images": (shutil.rmtree, "images", "6 frames were written, 0 are there"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_differs_is_told_in_one_line(patchvsr, outputs, name):
    change, target, said = DIFFERENCES[name]
    change(outputs / target)
    done = patchvsr("verify", target)
    assert done.code == 1, done
    assert len(done.lines) == 1
    assert done.lines[0].startswith(f"{target}: differs: ")
    assert re.search(said, done.lines[0])


def test_the_header_of_the_video_is_verified(patchvsr, outputs):
    with av.open("out.mkv") as container:
        header = bytes(container.streams.video[0].codec_context.extradata)
    flip(Path("out.mkv"), Path("out.mkv").read_bytes().index(header) + 3)  # the level, which no decoder heeds
    done = patchvsr("verify", "out.mkv")
    assert done == (1, ["out.mkv: differs: the header of the video is not the one that was written"], [])


NO_RECORD = {
    "no manifest": (lambda job: (job / "manifest.json").unlink(), "no manifest found"),
    "manifest cut": (lambda job: (job / "manifest.json").write_text('{"format":'), "cannot be read"),
    "manifest of nothing": (lambda job: (job / "manifest.json").write_text("{}"), "another version"),
    "manifest a list": (lambda job: (job / "manifest.json").write_text("[]"), "cannot be read"),
    "not finished": (lambda job: (job / "result.json").unlink(), "that job is not finished"),
    "result cut": (lambda job: (job / "result.json").write_text("{"), "cannot be read"),
    "result of nothing": (lambda job: (job / "result.json").write_text('{"output": {}}'), "is damaged or of another"),
}


@pytest.mark.parametrize("name", NO_RECORD)
def test_without_a_record_nothing_can_be_told(patchvsr, outputs, name):
    change, said = NO_RECORD[name]
    change(outputs / "out.mkv.job")
    done = patchvsr("verify", "out.mkv")
    assert done.code == 2
    assert len(done.lines) == 1
    assert said in done.lines[0]


# Interrupts


@pytest.fixture
def begun(tmp_path, model):
    """Starts the command on a clip of three units in a process of its own; stops it in the end."""
    source = make_video(tmp_path / "in.mkv", count=120, size=(48, 48))
    words = ["upscale", source, "-o", tmp_path / "out.mkv", "-s", 2, "--steps", 0, "--model", model, "--json"]
    with Forked(*words) as process:
        yield process
        process.kill()


def wait_for(process: Forked, event: str) -> None:
    while f'"event": "{event}"'.encode() not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()


INTERRUPTS = {
    "Ctrl-C at work": (signal.SIGINT, "progress", "press Ctrl-C again to stop at once", "stopped"),
    "Ctrl-C while looking": (signal.SIGINT, "scanning", "press Ctrl-C again to stop at once", "stopped"),
    "SIGTERM": (signal.SIGTERM, "progress", "interrupted: finished units are kept", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", INTERRUPTS)
def test_a_stop_leaves_nothing_that_looks_finished_and_the_same_command_goes_on(
    tmp_path, begun, pipeline, patchvsr, name
):
    number, event, message, last = INTERRUPTS[name]
    wait_for(begun, event)
    begun.send_signal(number)
    out, err = (said.decode() for said in begun.communicate())
    assert begun.returncode == 130
    assert message in err
    assert len(err.splitlines()) == 1
    events = [json.loads(line) for line in out.splitlines()]
    if last:
        assert events[-1]["event"] == last
    assert not (tmp_path / "out.mkv").exists()
    left = sorted(file.name for file in tmp_path.iterdir())
    if event == "scanning":
        assert left == ["in.mkv"]
    else:
        assert left == ["in.mkv", "out.mkv.job"]
        assert not list((tmp_path / "out.mkv.job").glob("lock"))
        bins, tables = ({f.stem for f in (tmp_path / "out.mkv.job").glob(f"*.{x}")} for x in ("bin", "json"))
        assert bins == tables - {"manifest"}
    assert patchvsr("upscale", "in.mkv", "-o", "out.mkv").code == 0
    assert patchvsr("verify", "out.mkv").code == 0


# Information


def test_info_is_readable(patchvsr):
    rgba = np.dstack([np.full((48, 48, 3), 99, np.uint8), np.tile(np.arange(48, dtype=np.uint8), (48, 1))])
    with av.open("alpha.mov", "w") as out:
        stream = out.add_stream("png", rate=25, width=48, height=48, pix_fmt="rgba")
        out.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        out.mux(stream.encode(None))
    make_video(Path("tv.mkv"), count=4, options={"x264-params": "interlaced=1"}, audio=True)
    make_video(Path("hdr.mkv"), count=2, codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": HDR10})
    rows = {name: patchvsr("info", name).lines for name in ("alpha.mov", "tv.mkv", "hdr.mkv")}
    assert any(line.split() == ["alpha", "yes"] for line in rows["alpha.mov"])
    assert any(line.split()[:2] == ["interlaced", "yes:"] for line in rows["tv.mkv"])
    assert any(line.split() == ["stream", "1", "audio,", "aac,", "deu"] for line in rows["tv.mkv"])
    said = " ".join(" ".join(rows["hdr.mkv"]).split())
    assert "primaries BT2020, transfer PQ, matrix BT.2020, range limited" in said
    assert "mastering display 0.005 to 1000 cd/m2, brightest pixel 900, brightest frame average 300 cd/m2" in said
    for line in chain(*rows.values()):
        assert not any(raw in line for raw in ("None", "ColorTags", "HdrMetadata", "Fraction", "()"))


HDR10 = (  # without B-frames: of fewer frames than its delay, x265 derives decoding times by how its threads race
    "bframes=0:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=limited:log-level=none:max-cll=900,300:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
)

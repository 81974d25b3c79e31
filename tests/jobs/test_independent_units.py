"""Units inside a shot that begin by themselves: the same bytes in any order, and up to one step those of any job."""

from contextlib import closing

import pytest
import toy
from jobfiles import NARROW, SMALL, digest, make_shots, run

from patchvsr.errors import JobError
from patchvsr.events import Finished
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.here import Here
from patchvsr.jobs.restore import Restorer
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale


class Backwards(Here):
    """Restores the last unit first, so that no unit can go on from the one before it."""

    def restore(self, work, folder, stop):
        frames = FrameSource(work.input, work.read, work.manifest.scan)
        with closing(Restorer(self._pipeline, work, frames)) as restorer:
            for unit in reversed(work.manifest.units()):
                segment = folder.segment_path(unit.number)
                restored = yield from restorer.restore(unit, segment, folder.read_handover)
                assert restored.handover is None
                folder.write_unit(unit.number, restored.record, None)


def backwards(source, target, pipeline, **options):
    settings = UpscaleSettings.of(**(SMALL | options))
    last = list(upscale(source, target, settings, get_engine=lambda: Backwards(pipeline)))[-1]
    assert isinstance(last, Finished) and len(JobFolder(target).read_efforts()) > 2
    return digest(target)


def first_unit_only(source, target, pipeline, **options):
    asked = iter([False, True])
    run(source, target, pipeline, stop=lambda expected_s: next(asked), **options)
    return JobFolder(target)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_shots(tmp_path_factory.mktemp("source") / "in.mkv", (3, 23), size=NARROW)


@pytest.mark.parametrize(
    ("steps", "options"),
    [(0, {}), (1, {}), (1, dict(overlap_frames=5, chunk_frames=9))],
    ids=["0", "1", "1-overlap"],
)
def test_up_to_one_step_they_are_the_units_of_any_job(tmp_path, source, steps, options):
    pipeline = toy.pipeline(num_inference_steps=steps)
    run(source, tmp_path / "whole.mkv", pipeline, **options)
    assert backwards(source, tmp_path / "out.mkv", pipeline, **options) == digest(tmp_path / "whole.mkv")


def test_up_to_one_step_nothing_is_handed_over_and_the_setting_changes_no_job(tmp_path, source):
    pipeline, target = toy.pipeline(num_inference_steps=0), tmp_path / "out.mkv"
    run(source, tmp_path / "whole.mkv", pipeline)
    begun = first_unit_only(source, target, pipeline, independent_units=True)
    assert begun.is_done(0) and not list(begun.path.glob("*.safetensors"))
    run(source, target, pipeline)
    assert digest(target) == digest(tmp_path / "whole.mkv")


@pytest.mark.parametrize("options", [dict(num_inference_steps=2), dict(strength=0.5)], ids=["2-steps", "strength"])
def test_with_more_they_are_another_job(tmp_path, source, options):
    pipeline = toy.pipeline(num_inference_steps=1)
    run(source, tmp_path / "ordered.mkv", pipeline, **options)
    begun = first_unit_only(source, tmp_path / "out.mkv", pipeline, **options, independent_units=True)
    assert begun.is_done(0) and not list(begun.path.glob("*.safetensors"))
    with pytest.raises(JobError, match=r"settings\.independent_units was True, is False"):
        run(source, tmp_path / "out.mkv", pipeline, **options)
    options = options | dict(independent_units=True)
    run(source, tmp_path / "out.mkv", pipeline, **options)
    assert backwards(source, tmp_path / "backwards.mkv", pipeline, **options) == digest(tmp_path / "out.mkv")
    assert digest(tmp_path / "out.mkv") != digest(tmp_path / "ordered.mkv")

"""The report of a finished job: how it was made, how long it took, and what its output measures."""

from __future__ import annotations

from pathlib import Path

from patchvsr.errors import JobError
from patchvsr.evaluation.report import measure_output, report_path, write_report
from patchvsr.jobs.folder import JobFolder
from patchvsr.media import ReadSettings
from patchvsr.media.images.names import DEFAULT_PATTERN, means_sequence, split_pattern


def write_job_report(input_path: str | Path, output_path: str | Path, read: ReadSettings) -> Path:
    """Writes `OUT.report.json` and returns its path; both files are read once.

    Raises JobError when the job is not finished, InputError or OutputError when a file cannot be read or written.
    """
    folder = JobFolder(Path(output_path))
    manifest, result = folder.read_manifest(), folder.read_result()
    if manifest is None or result is None:
        raise JobError(f"{folder.path}: that job is not finished; run its command again")
    units, efforts = manifest.units(), folder.read_efforts()
    settings = manifest.identity["settings"]
    job = {
        **manifest.identity,
        "frames": len(manifest.scan.pts),
        "shots": len(manifest.scan.cuts),
        "chunk_frames": manifest.chunk_frames,
        "overlap_frames": manifest.overlap_frames,
        "seconds": round(sum(effort["seconds"] for effort in efforts), 3),
        "units": [{"frames": len(unit.frames), **effort} for unit, effort in zip(units, efforts, strict=True)],
    }
    measures = measure_output(
        input_path,
        _its_own_files(Path(output_path)),
        patch_px=manifest.identity["model"]["patch_px"],
        cell_px=manifest.identity["model"]["cell_px"],
        joint_mode=settings["joint_mode"],
        steps=max(1, settings["num_inference_steps"]),
        read=read,
    )
    path = report_path(Path(output_path))
    write_report(path, {"job": job, "measures": measures})
    return path


def _its_own_files(output: Path) -> Path:
    """The output as an input: of a folder of images, those that the job wrote there."""
    return output / DEFAULT_PATTERN if means_sequence(output) and split_pattern(output)[1] is None else output

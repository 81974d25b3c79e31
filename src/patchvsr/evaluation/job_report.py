"""Write the report of a finished job: its settings, its run time, and measures of its output."""

from __future__ import annotations

from pathlib import Path

from patchvsr.errors import JobError
from patchvsr.evaluation.report import measure_output, report_path, write_report
from patchvsr.jobs.folder import JobFolder
from patchvsr.media import ReadSettings
from patchvsr.media.images.names import DEFAULT_PATTERN, means_sequence, split_pattern


def write_job_report(input_path: str | Path, output_path: str | Path, read: ReadSettings) -> Path:
    """Write `OUT.report.json` and return its path; input and output are read once.

    Raises JobError if the job is not finished, and InputError or OutputError if a file cannot be read or written.
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
    """Return the output as an input path; for a folder of images, only those that the job wrote there."""
    return output / DEFAULT_PATTERN if means_sequence(output) and split_pattern(output)[1] is None else output

"""The layout of `vsreval` 0.1, for scripts that read it: one file per metric, and `results.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from patchvsr import files

# vsreval's names of what both measure alike: its PSNR is that of RGB, its SSIM that of luma. Its other metrics need
# weights that it downloads, except NIQE, whose scale is not that of ours.
SAME = {"psnr": "psnr_rgb", "ssim": "ssim_y"}
OTHERS = {"lpips", "dists", "musiq", "clipiqa", "niqe", "maniqa", "dover", "fastervqa", "ewarp"}


def write_vsreval(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a folder per method, with scores under vsreval's names where there is one, else under ours.

    Scores of ours that have the name of another one there are left out, which `warnings` say. `protocol` names this
    package, so that vsreval does not take the scores for its own.
    """
    theirs = {ours: name for name, ours in SAME.items()}
    protocol = f"patchvsr {report['versions']['patchvsr']}"
    clashes = {name for record in report["clips"] for name in record["scores"]} & OTHERS
    left_out = report["missing"] | {name: "left out, as vsreval's is another score" for name in sorted(clashes)}
    written = []
    for method in report["means"]:
        records = [record for record in report["clips"] if record["method"] == method]
        samples = {
            record["clip"]: {
                theirs.get(name, name): value for name, value in record["scores"].items() if name not in OTHERS
            }
            for record in records
        }
        metrics = dict.fromkeys(name for scores in samples.values() for name in scores)
        by_metric = {
            name: {clip: scores[name] for clip, scores in samples.items() if name in scores} for name in metrics
        }
        averages = {name: fmean(scores.values()) for name, scores in by_metric.items()}
        common = {"protocol": protocol, "count": len(samples)}
        for name, scores in by_metric.items():
            payload = {"metric": name, **common, "per_sample": scores, "average": averages[name], "count": len(scores)}
            written.append(_write(folder / method / f"{name}.json", payload))
        results = {
            **common,
            "versions": report["versions"],
            "inputs": {record["clip"]: record["files"] for record in records},
            "warnings": [f"{name}: {reason}" for name, reason in left_out.items()],
            "average": averages,
            "per_sample": samples,
        }
        written.append(_write(folder / method / "results.json", results))
    return written


def _write(path: Path, payload: Mapping[str, Any]) -> Path:
    files.write_text(path, json.dumps(payload, indent=2) + "\n", parents=True)
    return path

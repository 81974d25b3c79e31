"""Stands in for `patchvsr upscale IN -o OUT ...`: tells the events of a job, and waits where a test wants it to.

A job waits if there is a pipe IN.go, until something is written there: "done" or "fail".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FRAMES = 9


def tell(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    name, source, _, output = sys.argv[1:5]
    assert name == "upscale" and "--json" in sys.argv and "--report" in sys.argv
    tell("started", input=source, output=output, num_frames=FRAMES, notices=[])
    tell("planned", job=f"{output}.job", frames=FRAMES, shots=1, units=2, units_done=0, frames_done=0)
    tell("progress", frames=1)
    gate = Path(f"{source}.go")
    if gate.exists() and gate.read_text() == "fail":
        tell("failed", input=source, reason="frame 3 is wrong")
        sys.stderr.write("patchvsr: frame 3 is wrong\n")
        sys.exit(2)
    tell("assembling")
    Path(output).write_bytes(bytes(range(200)))
    Path(f"{output}.report.json").write_text('{"job": {"frames": 9}}')
    tell("finished", output=output, frames=FRAMES, seconds=1.0)


if __name__ == "__main__":
    main()

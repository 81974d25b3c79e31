"""Methods to compare: commands that make an output file from a low-quality file.

Everything is a command, the bundled model and the baselines as well, so that time and memory are measured alike.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from patchvsr import files
from patchvsr.errors import OutputError, PatchVSRError, SettingsError
from patchvsr.evaluation.measured import run_measured
from patchvsr.media.layouts import content_digest

_BASELINE = "{python} -m patchvsr.evaluation.baselines {name} {input} {output} --scale {scale}"
_UPSCALE = "{python} -m patchvsr upscale {input} -o {output} --scale {scale} --codec ffv1"

# Commands of the built-in methods by name. N is a number of denoising steps.
BUILT_IN = {
    "bicubic": _BASELINE,
    "lanczos": _BASELINE,
    "realesrgan-x4plus": _BASELINE,
    "realesrgan-animevideov3": _BASELINE,
    "patchvsr-fast": _UPSCALE + " --preset fast",
    "patchvsr-N": _UPSCALE + " --steps {steps} --model {model}",
}
ONLY_SCALE = {"realesrgan-x4plus": 4.0, "realesrgan-animevideov3": 4.0}
_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Method:
    """A way to enlarge a video file.

    name: as shown in tables and used for folders.
    command: its words, with {input}, {output} and {scale} where they belong.
    only_scale: the one scale that it can do, None for any.
    """

    name: str
    command: tuple[str, ...]
    only_scale: float | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SettingsError(f"method name {self.name!r}: use letters, digits and . + - _ only")
        for place in ("{input}", "{output}"):
            if not any(place in word for word in self.command):
                raise SettingsError(f"method {self.name}: its command has no {place}; write NAME=COMMAND with both")

    def filled(self, lq: Path, output: Path, scale: float) -> tuple[str, ...]:
        """Return the command for one clip. Raises SettingsError for a scale that the method cannot do."""
        if self.only_scale not in (None, scale):
            raise SettingsError(f"method {self.name} enlarges by {self.only_scale:g} only, not by {scale:g}")
        return _fill(self.command, {"input": str(lq), "output": str(output), "scale": f"{scale:g}"})


@dataclass(frozen=True)
class Run:
    """What one run of a method took. `seconds` and `peak_memory_gib` are those of the whole command."""

    seconds: float
    peak_memory_gib: float
    command: tuple[str, ...]


def parse_method(text: str, *, model: str = "mini") -> Method:
    """Return a built-in method by its name, such as "bicubic" or "patchvsr-4", or one of the user: "NAME=COMMAND".

    model: of the methods patchvsr-N.

    Raises:
        SettingsError: the name is unknown, or the command is not understood or lacks {input} or {output}.
    """
    name, equals, command = text.partition("=")
    if equals:
        return Method(name, _fill(_words(name, command), {"python": sys.executable}))
    steps = re.fullmatch(r"patchvsr-(\d+)", name)
    known = "patchvsr-N" if steps else name
    if known not in BUILT_IN or name == "patchvsr-N":
        raise SettingsError(f"unknown method {name!r}: give {', '.join(BUILT_IN)} (N steps), or NAME=COMMAND")
    values = {"python": sys.executable, "name": name, "steps": steps[1] if steps else "", "model": model}
    return Method(name, _fill(BUILT_IN[known].split(), values), ONLY_SCALE.get(name))


def run(method: Method, lq: Path, output: Path, scale: float) -> Run:
    """Make `output` from `lq` by a method and measure that, unless the same run is already done.

    The output appears when it is complete, with a record of the run beside it (OUT.run.json).

    Raises:
        SettingsError: the method cannot do this scale.
        OutputError: `output` exists and was made in another way, or cannot be written.
        PatchVSRError: the command failed or wrote no output; its last words are in the message.
    """
    command = method.filled(lq, output, scale)
    record = files.beside(output, "{}.run.json")
    made_from = content_digest(lq)
    if output.exists():
        return _earlier_run(output, record, command, made_from)
    folder = files.temporary_folder(output)
    try:
        made = folder / output.name
        run = Run(*_measure(method, method.filled(lq, made, scale), lq, made), command)
        with files.reported(output, lambda: None):
            files.write_durably(record, json.dumps(asdict(run) | {"input_sha256": made_from}, indent=1).encode())
            for beside in folder.iterdir():  # such as the folder of a job, which tells where patches end
                if beside != made:
                    beside.replace(output.with_name(beside.name))
            files.move_file(made, output)
    finally:
        files.remove_folder(folder)
    return run


def _measure(method: Method, command: tuple[str, ...], lq: Path, made: Path) -> tuple[float, float]:
    measured = run_measured(command)
    if measured.code != 0:
        raise PatchVSRError(f"method {method.name} failed on {lq} (exit code {measured.code}): {measured.last_words()}")
    if not made.is_file():
        raise PatchVSRError(f"method {method.name} wrote no {made.name} for {lq}: check {{output}} in its command")
    return measured.seconds, measured.peak_memory_gib


def _earlier_run(output: Path, record: Path, command: tuple[str, ...], made_from: str) -> Run:
    try:
        known = json.loads(record.read_text())
        run = Run(known["seconds"], known["peak_memory_gib"], tuple(known["command"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputError(f"{output} exists without a record of how it was made: remove it") from None
    if (run.command, known.get("input_sha256")) != (command, made_from):
        raise OutputError(f"{output} was made by another command or from another input: remove it")
    return run


def _words(name: str, command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"method {name}: its command is not understood: {str(error).lower()}") from None


def _fill(words: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    # Not str.format, so that other braces in a command stay as they are; in one pass, so that a value is not filled.
    places = re.compile("|".join(re.escape(f"{{{name}}}") for name in values))
    return tuple(places.sub(lambda found: values[found[0][1:-1]], word) for word in words)

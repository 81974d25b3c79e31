"""Look at files before and after the work: facts, estimates, previews, stills. One at a time; pictures are kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from patchvsr.presets import save_preset
from patchvsr.service import commands
from patchvsr.service.options import is_cluster, on_device
from patchvsr.service.refusals import Refused
from patchvsr.settings import UpscaleSettings

MOST_WAITING = 20
KEPT_PICTURES = 200


class Looks:
    def __init__(self, data: Path, device: str | None) -> None:
        self._data, self._lock, self._pictures = data, data / "looks.lock", data / "pictures"
        self._pictures.mkdir(exist_ok=True)
        self._on_device = [] if is_cluster(device) else on_device(device)  # it looks from this machine
        self._turn, self._waiting = asyncio.Lock(), 0

    async def facts(self, file: Path) -> dict[str, Any]:
        """Return what a file is. Raises InputError if it is not a readable video."""
        return await self._look("facts", str(file))

    async def check(self, file: Path, output: Path, preset: Path, skip_streams: Sequence[int]) -> dict[str, Any]:
        """Return what a file is and how it would be upscaled. Raises InputError with the reason if it cannot be."""
        words = (str(file), str(output), str(preset), *map(str, skip_streams))
        return await self._look("check", *words, most_waiting=inf)  # submissions have a limit of their own

    async def estimate(self, file: Path, suffix: str, settings: UpscaleSettings) -> dict[str, Any]:
        """Return the estimate of `patchvsr upscale --plan`."""
        await self.facts(file)  # refuses what the command would read, such as a list of other files
        with tempfile.TemporaryDirectory() as folder:
            words = _for(settings, Path(folder))
            output = str(self._data / f"estimate{suffix}")  # never written; on the disk that is to be judged
            plan = await self._ask(
                commands.CLI, "upscale", str(file), "-o", output, *words, *self._on_device, "--plan", "--json"
            )
        found = [json.loads(line) for line in plan.splitlines()]
        return next(event for event in found if event.pop("event") == "plan")

    async def preview(
        self, file: Path, settings: UpscaleSettings, at_s: float | None, crop: str | None
    ) -> dict[str, Any]:
        """Return the facts of `patchvsr preview` with the name of its picture, from an earlier time if there is one."""
        picture = self._picture("preview", file, repr(settings), at_s, crop, suffix=".png")
        answer = picture.with_suffix(".json")
        if not (picture.exists() and answer.exists()):
            await self.facts(file)
            words = [] if at_s is None else ["--at", repr(at_s)]
            words += [] if crop is None else ["--crop", crop]
            with tempfile.TemporaryDirectory() as folder:
                preset = _for(settings, Path(folder), options=False)
                made = await self._ask(
                    commands.CLI, "preview", str(file), "-o", str(picture), *words, *preset, *self._on_device,
                    "--overwrite", "--json",
                )  # fmt: skip
            answer.write_text(made)
        return json.loads(answer.read_text()) | {"output": picture.name}

    async def still(self, file: Path, at_s: float, longest_side: int, suffix: str = ".jpg") -> Path:
        """Return a picture of the first frame at or after a time."""
        picture = self._picture("still", file, at_s, longest_side, suffix=suffix)
        if not picture.exists():
            await self._look("still", str(file), repr(at_s), str(longest_side), str(picture))
        return picture

    def picture(self, name: str) -> Path:
        """Return a picture by its name. Raises Refused if there is none."""
        path = self._pictures / Path(name).name
        if path.suffix not in (".png", ".jpg") or not path.is_file():
            raise Refused(404, f"no picture {name}: ask for the preview again")
        return path

    def _picture(self, *parts: object, suffix: str) -> Path:
        """Return the place of the picture that these parts determine, and forget the oldest ones."""
        known = [(part, part.stat().st_mtime_ns) if isinstance(part, Path) else part for part in parts]
        key = hashlib.sha256("\n".join(map(repr, known)).encode()).hexdigest()[:32]
        for old in sorted(self._pictures.iterdir(), key=lambda file: file.stat().st_mtime)[:-KEPT_PICTURES]:
            old.unlink(missing_ok=True)
        return self._pictures / f"{key}{suffix}"

    async def _look(self, *words: str, most_waiting: float = MOST_WAITING) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._ask(commands.LOOK, *words, most_waiting=most_waiting))
        return found

    async def _ask(self, module: str, *words: str, most_waiting: float = MOST_WAITING) -> str:
        if self._waiting >= most_waiting:
            raise Refused(429, f"{self._waiting} looks at files are waiting: try again in a minute")
        self._waiting += 1
        try:
            async with self._turn:
                return await commands.answer(self._lock, module, *words)
        finally:
            self._waiting -= 1


def _for(settings: UpscaleSettings, folder: Path, *, options: bool = True) -> list[str]:
    """Write settings as a preset and return the words of a command that uses them."""
    save_preset(settings, folder / "settings.toml")
    skipped = settings.encode.skip_streams if options else ()
    return ["--preset", str(folder / "settings.toml"), *(w for i in skipped for w in ("--skip-stream", str(i)))]

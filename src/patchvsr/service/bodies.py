"""Bodies of requests. The settings that a client can give are generated from the settings of the command line."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from patchvsr.errors import SettingsError
from patchvsr.service.options import ServiceOptions
from patchvsr.settings import UpscaleSettings, setting_groups

# The device and its kernels are the worker's, and an existing file is never replaced for a client. A base is a folder
# to read or a download, and options of encoders can name files to write to: they come from the service's preset only.
_NOT_OFFERED = {
    "device", "overwrite", "base", "encoder_options", "storage_dtype", "cpu_offload", "attention_backend", "compile",
}  # fmt: skip


class Strict(BaseModel):
    """A body without unknown fields, infinite numbers and halves of characters."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, body: Any) -> Any:
        """JSON can spell half of a surrogate pair, which no file name, database or answer takes."""
        try:
            json.dumps(body, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a character, a lone surrogate") from None
        return body


def _offered() -> dict[str, Any]:
    """Return a type and a default for every setting that has an option, as pydantic wants them."""
    found: dict[str, Any] = {}
    for group in setting_groups().values():
        hints = get_type_hints(group)
        for field in fields(group):
            if "help" in field.metadata and field.name not in _NOT_OFFERED:
                hint = list[int] if hints[field.name] == tuple[int, ...] else hints[field.name]
                found[field.name] = (hint | None, Field(None, description=field.metadata["help"]))
    return found


if TYPE_CHECKING:

    class SettingsBody(Strict):
        """Settings by the names that presets use."""
else:
    SettingsBody = create_model("Settings", __base__=Strict, **_offered())


LARGEST = 2**63 - 1  # of whole numbers in the database


class NewUpload(Strict):
    name: str = Field(description="Name of the file, to show and for downloads.")
    size: int = Field(le=LARGEST, description="Size in bytes.")
    modified: int | None = Field(
        None, ge=0, le=LARGEST, description="When the file was changed last, so that a client knows it again later."
    )


class Source(Strict):
    """A video: a path of the server, or an upload."""

    input: str | None = Field(None, description="Absolute path in a folder of the service.")
    upload: str | None = Field(None, description="An upload, by its id.")


class Wish(Source):
    """A video and how to upscale it."""

    settings: SettingsBody = Field(default_factory=SettingsBody)
    container: Literal["mkv", "mp4", "mov", "webm"] = Field("mkv", description="Container of the output.")

    def chosen(self, options: ServiceOptions) -> UpscaleSettings:
        """Return the settings on top of those of the service. Raises SettingsError for a bad value or model."""
        given = self.settings.model_dump(exclude_unset=True)
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        settings = options.settings.overridden(**given)
        if settings.restore.model not in options.offered_models:
            offered = ", ".join(options.offered_models)
            raise SettingsError(f"model {settings.restore.model!r} is not offered here: choose one of {offered}")
        return settings


class PreviewWish(Wish):
    at: float | None = Field(None, ge=0, description="Time in seconds from the first frame; default the middle.")
    crop: str | None = Field(
        None,
        pattern=r"^\d{1,5},\d{1,5},\d{1,5},\d{1,5}$",
        description="X,Y,WIDTH,HEIGHT in pixels of the input; default the whole frame.",
    )


class NewJob(Wish):
    output: str | None = Field(None, description="Path to write to, in a folder of the service; default a download.")
    priority: int = Field(0, ge=-100, le=100, description="Jobs with a higher one come first.")


class Move(Strict):
    priority: int | None = Field(None, ge=-100, le=100)
    before: str | None = Field(None, description="A job to come before, by its id; its priority is taken on.")

"""Options of the service, checked when built."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from patchvsr.errors import SettingsError
from patchvsr.models.registry import bundled_models
from patchvsr.service.refusals import Refused
from patchvsr.settings import UpscaleSettings

GIB = 2**30
CLUSTER = "ray:"  # before the address of a cluster that is used as a device


def on_device(device: str | None) -> list[str]:
    """Return the words that make a command run on a device of `ServiceOptions`."""
    if device is None:
        return []
    return ["--ray", device.removeprefix(CLUSTER)] if is_cluster(device) else ["--device", device]


def is_cluster(device: str | None) -> bool:
    return device is not None and device.startswith(CLUSTER)


@dataclass(frozen=True)
class ServiceOptions:
    """What a service offers, and its limits.

    data: folder of the database, uploads and results.
    folders: where clients may read videos and write outputs, besides uploads.
    watched: folders whose videos become jobs, with outputs in a subfolder. Clients may use them as well.
    devices: one worker for each; None is the best device of the machine, "ray:ADDRESS" a cluster.
    settings: of every job, unless the job has its own.
    models: offered besides the bundled ones. Others could be downloaded or read from any folder.
    token: what clients must know; None for a service that only this machine reaches.
    names: host names of this service, besides addresses and localhost.
    max_jobs: unfinished jobs. max_upload_bytes: of one file. min_free_bytes: left free on the disk of `data`.
    """

    data: Path
    folders: tuple[Path, ...] = ()
    watched: tuple[Path, ...] = ()
    devices: tuple[str | None, ...] = (None,)
    settings: UpscaleSettings = field(default_factory=UpscaleSettings)
    models: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8790
    token: str | None = None
    names: tuple[str, ...] = ()
    max_jobs: int = 100
    max_upload_bytes: int = 100 * GIB
    min_free_bytes: int = 2 * GIB

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise SettingsError(f"host {self.host} can be reached by others: give a --token that clients must know")
        if self.token is not None and len(self.token) < 16:
            raise SettingsError("the token is shorter than 16 characters and could be guessed: give a longer one")
        for folder in (*self.folders, *self.watched):
            if not folder.is_dir():
                raise SettingsError(f"{folder}: no such folder; give folders that clients may use")
        if len(set(self.devices)) < len(self.devices):
            raise SettingsError("a device is given twice: each has one worker")

    @property
    def offered_models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([self.settings.restore.model, *bundled_models(), *self.models]))

    def check_space(self, needed_bytes: int = 0) -> None:
        """Raise Refused if the disk would have less than `min_free_bytes` left."""
        free = shutil.disk_usage(self.data).free - needed_bytes
        if free < self.min_free_bytes:
            raise Refused(
                507,
                f"the disk would have {max(0, free) / GIB:.1f} GiB free, less than the {self.min_free_bytes / GIB:.1f} "
                "GiB to be kept: delete finished jobs or free some space",
            )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """Return whether `host` is an IP address instead of a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

"""Choose what to compute with: the device, the floating-point type and the number of threads."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from patchvsr.errors import SettingsError

# oneDNN's names of x86 instruction sets, for the limit in ONEDNN_MAX_CPU_ISA; in order, except that AVX10 repeats some.
_WITHOUT_BF16 = ("sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni")
_WITHOUT_AMX = (*_WITHOUT_BF16, "avx512_core_bf16", "avx512_core_fp16", "avx10_1_512", "avx10_2_512")
_WITH_AMX = (
    *("avx512_core_amx", "avx512_core_amx_fp16"),
    *("avx10_1_512_amx", "avx10_1_512_amx_fp16", "avx10_2_512_amx_2"),
)
_CHOSEN_BY_USERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def choose_device(name: str | None) -> str:
    """Return the device `name`, or the best one for None. Raises SettingsError if it cannot be used."""
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"device {device!r} cannot be used: {reason}") from None
    return device


def default_dtype(device: torch.device | str) -> torch.dtype:
    """Return bfloat16 for a device that is fast with it, else float32."""
    device = torch.device(device)
    if device.type == "cuda":
        with torch.cuda.device(device):
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type != "cpu" or _bf16_is_fast()
    return torch.bfloat16 if fast else torch.float32


def bf16_instructions() -> str | None:
    """Return the instructions with which the CPU multiplies matrices of bfloat16: "AMX", "AVX512-BF16" or "Arm BF16".

    None if it has none, or may not use them because ONEDNN_MAX_CPU_ISA or ATEN_CPU_CAPABILITY is lower.
    """
    # This query heeds neither limit entirely: it is also true where oneDNN emulates bfloat16 with AVX512, which takes
    # three times as long as float32 (docs/experiments.md). On Arm it asks for the instructions.
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "Arm BF16"
    limit = _onednn_limit()
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or limit in _WITHOUT_BF16:
        return None
    if not _processor("_is_avx512_bf16_supported"):
        return None
    # The system has to grant AMX to a process, and some sandboxes do not.
    has_amx = _processor("_is_amx_tile_supported") and _processor("_init_amx")
    return "AMX" if has_amx and limit not in _WITHOUT_AMX else "AVX512-BF16"


def _bf16_is_fast() -> bool:
    """Return whether the CPU multiplies matrices of bfloat16 faster than those of float32.

    Cores made with AMX, which are those with AVX512-FP16, leave bfloat16 to it: where a system does not grant it to a
    process, their AVX512-BF16 takes twice as long as float32 (docs/experiments.md).
    """
    instructions = bf16_instructions()
    if instructions == "AVX512-BF16":
        return not torch.cpu.get_capabilities().get("avx512_fp16", False)
    return instructions is not None


def device_kind(device: torch.device | str) -> str:
    """Return the device with what its rounding depends on, for example "cpu (AVX512, AMX)"."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    kinds = [torch.backends.cpu.get_cpu_capability(), bf16_instructions()]
    limit = _onednn_limit()
    kinds.append(limit and f"oneDNN up to {limit.upper()}")
    return f"{device.type} ({', '.join(filter(None, kinds))})"


def limit_threads() -> None:
    """Give torch at most as many threads as this process has CPUs. A number set by the user or the program stays."""
    threads, _ = choose_threads(cpu_quota())
    if threads < torch.get_num_threads():
        torch.set_num_threads(threads)


def choose_threads(quota: float) -> tuple[int, str]:
    """Return the number of threads, given the `cpu_quota` of the process, and what decides it.

    torch knows the cores and, when it is loaded, the CPU affinity, but not the limit of a container: there it takes the
    host's cores, and the system stops all threads for most of each period.
    """
    current = torch.get_num_threads()
    for name in _CHOSEN_BY_USERS:
        if os.environ.get(name):
            return current, name
    limits = {"cores of the processor": current}
    if hasattr(os, "sched_getaffinity"):  # Linux
        limits["CPU affinity"] = len(os.sched_getaffinity(0))
    if quota < math.inf:
        limits["limit of the container"] = math.ceil(quota)  # with 1.5 CPUs two threads do more than one
    reason = min(limits, key=limits.__getitem__)
    return limits[reason], reason


def cpu_quota(membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the CPUs, as a fraction, that the cgroups of this process may use; infinite without a limit."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mount / "cpu" if controllers else mount  # version 1, version 2
        group = top / path.lstrip("/")
        # Limits of the groups above hold as well. In a container the path can be the host's: then only `top` exists.
        for folder in (group, *group.parents):
            quota = min(quota, _quota_of(folder))
            if folder == top:
                break
    return quota


def facts(device: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of what an upscale on `device` computes with by default: the lines of `patchvsr info`."""
    yield "device", device_kind(device)
    default = default_dtype(device)
    dtype = str(default).removeprefix("torch.")
    if torch.device(device).type == "cpu":
        instructions = bf16_instructions()
        slow = instructions is not None and default == torch.float32
        dtype += f" ({'faster here than ' * slow}{instructions or 'no bfloat16 instructions'})"
    yield "dtype", dtype
    threads, reason = choose_threads(cpu_quota())
    yield "threads", f"{threads} ({reason})"


def _processor(query: str) -> bool:
    """Ask one of torch's own queries of the processor; False in versions without it."""
    return bool(getattr(torch.cpu, query, bool)())


def _onednn_limit() -> str | None:
    """Return the limit as oneDNN reads it when it starts: in any case, and ignored if unknown."""
    name = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return name.lower() if name.lower() in (*_WITHOUT_AMX, *_WITH_AMX) else None


def _quota_of(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError):  # no such file in the topmost group; "max" is no limit
        return math.inf

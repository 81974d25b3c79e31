"""The machine at hand: bfloat16 only with instructions for it, and no more threads than CPUs."""

import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import patchvsr
from patchvsr.compute import choose_threads, cpu_quota, default_dtype

X86 = platform.machine() in ("x86_64", "AMD64")
SET_HERE = (
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"),
)


def in_a_new_process(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with only these of the variables that torch reads when it is imported."""
    kept = {name: value for name, value in os.environ.items() if name not in SET_HERE}
    source = str(Path(patchvsr.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, *words], env=kept | variables | {"PYTHONPATH": source}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def dtype_and_device(**variables: str) -> tuple[str, str]:
    code = """
from patchvsr.compute import default_dtype, device_kind
print(default_dtype("cpu"), device_kind("cpu"), sep="\\n")
"""
    dtype, device = in_a_new_process("-c", code, **variables).stdout.splitlines()
    return dtype, device


LIMITS = [
    (dict(ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2"), "AVX2, oneDNN up to AVX2)"),
    (dict(ONEDNN_MAX_CPU_ISA="AVX512_CORE"), "oneDNN up to AVX512_CORE)"),
    (dict(DNNL_MAX_CPU_ISA="avx512_core_vnni"), "oneDNN up to AVX512_CORE_VNNI)"),
    (dict(ATEN_CPU_CAPABILITY="avx2"), "cpu (AVX2)"),
]


@pytest.mark.skipif(not X86, reason="these limits are for x86")
@pytest.mark.parametrize(("limit", "end"), LIMITS, ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_float32_under_a_limit_that_leaves_no_instructions_for_bfloat16(limit, end):
    dtype, device = dtype_and_device(**limit)
    assert dtype == "torch.float32"
    assert device.startswith("cpu (") and device.endswith(end)


@pytest.mark.skipif(not (X86 and sys.platform == "linux"), reason="reads the flags of x86 from Linux")
def test_bfloat16_where_the_processor_has_fast_instructions():
    """AVX512-BF16 of cores made with AMX, which are those with AVX512-FP16, is slower than float32."""
    flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    dtype, device = dtype_and_device(ONEDNN_MAX_CPU_ISA="nonsense")  # which oneDNN ignores
    fast = "amx_bf16" in flags or flags & {"avx512_bf16", "avx512_fp16"} == {"avx512_bf16"}
    assert dtype == ("torch.bfloat16" if fast else "torch.float32")
    assert ("AMX" in device or "AVX512-BF16" in device) == ("avx512_bf16" in flags)
    assert "oneDNN" not in device
    if "avx512_bf16" in flags:
        dtype, device = dtype_and_device(ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16")
        assert dtype == ("torch.float32" if "avx512_fp16" in flags else "torch.bfloat16")
        assert device == "cpu (AVX512, AVX512-BF16, oneDNN up to AVX512_CORE_BF16)"


def test_another_device_than_a_cpu_keeps_bfloat16():
    assert default_dtype("meta") == torch.bfloat16


def test_info_tells_what_this_machine_computes_with():
    """In a process of its own, in which the command decides how OpenMP waits."""
    words = ("-m", "patchvsr", "info")
    limit = dict(ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2", OMP_DISPLAY_ENV="TRUE")
    done = in_a_new_process(*words, OMP_NUM_THREADS="1", **limit)
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [name for name, _ in rows] == ["device", "dtype", "threads"]
    assert rows[2][1].strip() == "1 (OMP_NUM_THREADS)"
    if sys.platform == "linux":
        assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    if X86 and not torch.cuda.is_available():
        assert rows[1][1].strip() == "float32 (no bfloat16 instructions)"


THREADS = """
import os, torch
from patchvsr.compute import limit_threads
before = torch.get_num_threads()
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
limit_threads()
print(before, torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_threads_follow_the_affinity_but_not_over_the_number_of_the_user():
    assert in_a_new_process("-c", THREADS).stdout.split()[1] == "1"
    before, after = in_a_new_process("-c", THREADS, OMP_NUM_THREADS="2").stdout.split()
    assert before == after


@pytest.fixture
def four_threads(monkeypatch):
    for name in SET_HERE:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_threads_of_a_container(four_threads, monkeypatch):
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
    for quota, threads in ((math.inf, 4), (16.0, 4), (2.0, 2), (1.5, 2), (1.0, 1), (0.2, 1)):
        assert choose_threads(quota)[0] == min(threads, cpus), quota
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert choose_threads(1.0) == (4, "OMP_NUM_THREADS")


CGROUPS = {
    "no limit, version 2": ("0::/\n", {}, math.inf),
    "a container of version 2": ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
    "max": ("0::/app\n", {"app/cpu.max": "max 100000\n"}, math.inf),
    "a group above": (
        "0::/pod/app\n",
        {"pod/cpu.max": "50000 100000\n", "pod/app/cpu.max": "max 100000\n", "cpu.max": "300000 100000\n"},
        0.5,
    ),
    "a container of version 1 under the host's path": (
        "9:memory:/docker/1\n5:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n",
        {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        2.0,
    ),
    "no limit, version 1": (
        "2:cpuset:/\n1:cpu:/app\n0::/app\n",
        {"cpu/app/cpu.cfs_quota_us": "-1\n", "cpu/app/cpu.cfs_period_us": "100000\n"},
        math.inf,
    ),
}


@pytest.mark.parametrize("name", CGROUPS)
def test_the_limit_of_a_container(tmp_path, name):
    membership, files, quota = CGROUPS[name]
    (tmp_path / "cgroup").write_text(membership)
    for file, text in files.items():
        path = tmp_path / "mount" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "mount") == quota


def test_no_limit_where_there_are_no_cgroups(tmp_path):
    assert cpu_quota(tmp_path / "cgroup", tmp_path) == math.inf

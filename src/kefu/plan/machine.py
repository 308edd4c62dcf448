"""What this machine, or a named one, has: cores, memory, accelerator. Never imports torch.

Rates are what the maker's data sheet promises, cut to what training reaches (`forecast.toml`);
this file does not measure anything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..records import Machine

MIB = 2**20
CGROUP = Path("/sys/fs/cgroup")
FALLBACK_MEMORY = 4 * 2**30
"""Assumed where the system does not say: small, so that nothing too big is planned."""


@cache
def named() -> Mapping[str, Mapping[str, Any]]:
    """The machines of data/machines.toml, by name."""
    text = files(__package__).joinpath("data/machines.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def rates() -> Mapping[str, Any]:
    """The constants of data/forecast.toml."""
    text = files(__package__).joinpath("data/forecast.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def probe(name: str | None = None) -> Machine:
    """This machine, or the named one (t4, l4, a10, 3090, 4090, a100-40, h100, h200, cpu).

    Memory is what is free now, of the GPU where there is one. `cpu` is this machine without its
    GPU. Raises SettingsError for a name that is not known.
    """
    if name is None:
        return _gpu() or _cpu()
    wanted = name.strip().lower()
    if wanted == "cpu":
        return _cpu()
    if wanted not in named():
        raise SettingsError(
            f"There is no machine called {name!r}.",
            f"Known machines: {', '.join([*named(), 'cpu'])}.",
        )
    return _card(wanted, named()[wanted], int(named()[wanted]["memory_mib"]) * MIB, 1)


def _card(name: str, facts: Mapping[str, Any], memory: int, gpus: int) -> Machine:
    share = rates()["gpu"]
    return Machine(
        name=name,
        device="cuda",
        cores=int(facts["cores"]),
        memory=memory,
        bf16=bool(facts["bf16"]),
        flops=float(facts["tflops"]) * 1e12 * float(share["sustained_flops"]),
        bandwidth=float(facts["gbps"]) * 1e9 * float(share["sustained_bandwidth"]),
        gpus=gpus,
    )


def _gpu() -> Machine | None:
    """The GPU with the most free memory, as the driver tells it; None without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None or os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return None
    query = "--query-gpu=name,memory.free,compute_cap"
    try:
        done = subprocess.run(
            [tool, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return _read_gpus(done.stdout)


def _read_gpus(text: str) -> Machine | None:
    """A Machine from nvidia-smi's lines `name, free MiB, compute capability`."""
    cards = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[1].isdigit():
            cards.append((int(parts[1]) * MIB, parts[0], _number(parts[2])))
    if not cards:
        return None
    memory, title, capability = max(cards)
    facts = dict(_known_card(title) or _guess(capability))
    facts["cores"] = _cores()
    if capability:
        facts["bf16"] = capability >= 8.0  # Ampere and later
    return _card(title, facts, memory, len(cards))


def _known_card(title: str) -> Mapping[str, Any] | None:
    hits = [(word, f) for f in named().values() for word in f["match"] if word in title]
    return max(hits, key=lambda hit: len(hit[0]))[1] if hits else None


def _guess(capability: float) -> Mapping[str, Any]:
    """A card that is not in the list is taken for a slow one of its generation."""
    near = "t4" if capability < 8.0 else "l4" if capability < 9.0 else "a100-40"
    return named()[near]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _cpu() -> Machine:
    info = _cpuinfo()
    flags = set(info.get("flags", "").split())
    cores = _cores()
    table = rates()["cpu"]
    amx, wide = "amx_bf16" in flags, "avx512f" in flags
    a_cycle = table["flops_avx512"] if wide else table["flops_avx2"]
    if not flags & {"avx2", "avx512f"}:
        a_cycle = table["flops_other"]
    hertz = max(_number(info.get("cpu MHz", "")) * 1e6, float(table["least_hertz"]))
    return Machine(
        name="cpu",
        device="cpu",
        cores=cores,
        memory=_memory(),
        bf16=amx or "avx512_bf16" in flags,
        flops=cores * hertz * float(a_cycle) * float(table["sustained_flops"]),
        bandwidth=float(table["bandwidth"]),
    )


def _cores() -> int:
    """Cores that this process may really use: its affinity, cut by the container's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        cores = os.cpu_count() or 1
    quota = _quota()
    return max(1, min(cores, round(quota))) if quota else cores


def _quota() -> float:
    """CPUs that the control group grants, 0.0 for no limit (cgroup v2, then v1)."""
    words = _text(CGROUP / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]) / int(words[1])
    share = _number(_text(CGROUP / "cpu/cpu.cfs_quota_us"))
    period = _number(_text(CGROUP / "cpu/cpu.cfs_period_us"))
    return share / period if share > 0 and period > 0 else 0.0


def _memory() -> int:
    """Bytes that this process may still take: the system's, cut by the container's limit."""
    free = 0
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limits = [free] if free else []
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most = _text(CGROUP / limit).strip()
        if most.isdigit() and int(most) < 2**60:  # v1 writes a huge number for no limit
            taken = _text(CGROUP / used).strip()
            limits.append(int(most) - (int(taken) if taken.isdigit() else 0))
    return max(min(limits, default=FALLBACK_MEMORY), 2**28)


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    info: dict[str, str] = {}
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    return info


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""Ray itself: found or started, and ended again. The only place where it is imported first.

Every worker works in the folder of the workspace, so that all machines of a cluster must see that
folder under the same path, and have the same kefu. Ray brings neither to them.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import SettingsError

STORE = 100_000_000
"""Bytes of Ray's shared memory: only exams, plans and replies go through it."""
RETRIES = 3
"""How often the work of a worker that died is given to another."""


@contextmanager
def connected(address: str | None, seen: Path) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at `address`, else to one on this machine alone,
    which ends with the block. Where a cluster runs in this process already, that one is taken.

    Raises SettingsError where Ray is not here, nothing answers at `address`, or one of its machines
    does not see the folder `seen`.
    """
    os.environ.setdefault(
        "RAY_USAGE_STATS_ENABLED", "0"
    )  # what is trained here is nobody's business
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError as error:
        raise SettingsError(
            f"Ray is not here ({error.name}).", "Install it: `pip install 'kefu[scale]'`."
        ) from None
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        **for_workers(),
    }
    try:
        if address is None:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=STORE,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"No Ray cluster answers at {address or 'this machine'}: {_first(error)}.",
            "Start one with `ray start --head`, and give its address with --ray.",
        ) from None
    try:
        _refuse_strangers(ray, seen)
        yield ray
    finally:
        ray.shutdown()


def for_workers() -> dict[str, Any]:
    """What `ray.init` is told where Python lies in a folder with a blank in its name: Ray puts its
    path into a shell's command as it is, and no worker would ever begin."""
    quoted = shlex.quote(sys.executable)
    return {"runtime_env": {"py_executable": quoted}} if quoted != sys.executable else {}


def share(ray: Any, memory: int) -> dict[str, float]:
    """What one training or one bot takes of a machine: a card where there are any, else a core;
    and `memory` bytes of the machine's own, so that no more are begun than it holds."""
    there = ray.cluster_resources()
    if there.get("GPU"):
        return {"num_cpus": 1, "num_gpus": 1}
    each = there.get("memory", 0.0) / max(1, len(ray.nodes()))
    return {"num_cpus": 1, "memory": min(memory, each)}


def _refuse_strangers(ray: Any, seen: Path) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    nodes = [n for n in ray.nodes() if n["Alive"]]
    if len(nodes) < 2:
        return
    look = ray.remote(num_cpus=0)(_sees)
    asked = [
        look.options(scheduling_strategy=On(node["NodeID"], soft=False)).remote(str(seen))
        for node in nodes
    ]
    for node, sees in zip(nodes, ray.get(asked), strict=True):
        if not sees:
            raise SettingsError(
                f"The machine {node['NodeManagerAddress']} of the Ray cluster does not see {seen}.",
                "Put the workspace on a disk that all machines share, under the same path.",
            )


def _sees(folder: str) -> bool:
    return Path(folder).is_dir()


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")

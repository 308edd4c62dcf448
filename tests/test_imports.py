"""The drawing of the rooms, as a test: imports go down only, and torch lives in few rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kefu

ROOT = Path(kefu.__file__).parent
FLOORS = (
    ("__main__",),
    ("cli",),
    ("studio", "scale"),
    ("jobs", "releases", "background"),
    ("show", "serve"),
    ("train", "bot", "export"),
    ("weights",),
    ("faq", "plan", "score", "exam", "reword", "recall", "asked", "advise"),
    ("prompt", "settings", "workspace"),
    ("records", "errors"),
)
"""From the roof to the ground. Rooms on one floor do not import each other, but for these:"""
NEIGHBOURS = {
    ("exam", "recall"): "An exam asks the same index what is alike as retrieval does.",
    ("reword", "recall"): "A wording that falls to another row's question is thrown away.",
    ("advise", "recall"): "Questions are compared in one width, script and case.",
    ("workspace", "settings"): "A workspace is where kefu.toml lies.",
    ("jobs", "background"): "A face has jobs done by child commands, and watches them.",
    ("jobs", "releases"): "Releasing is the last of the jobs.",
}
TORCH = ("weights", "train", "bot", "export", "serve")
HEAVY = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "datasets")


@cache
def modules() -> dict[str, Path]:
    """Module names within kefu, e.g. `train.lean`, and their files."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(name: str, path: Path) -> tuple[tuple[str, int], ...]:
    """Full names of what a module imports, anywhere in it, and the line."""
    return tuple(_imports(name, path))


def _imports(name: str, path: Path) -> Iterator[tuple[str, int]]:
    package = ["kefu", *name.split(".")] if name else ["kefu"]
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                inner = [*start, *(node.module.split(".") if node.module else []), alias.name]
                yield ".".join(inner), node.lineno


def room(name: str) -> str:
    return name.split(".")[0]


def floor(name: str) -> int:
    return next((i for i, rooms in enumerate(FLOORS) if name in rooms), -1)


def test_every_room_has_its_floor() -> None:
    rooms = {room(name) for name in modules() if name}
    assert rooms - {r for rooms in FLOORS for r in rooms} == set()
    assert {"cli", "jobs", "train", "bot", "weights", "prompt", "records"} <= rooms


def test_imports_go_down_only() -> None:
    wrong, seen = [], 0
    for name, path in modules().items():
        for what, line in imports(name, path):
            if not what.startswith("kefu.") or not name:
                continue
            mine, other = room(name), room(what.removeprefix("kefu."))
            if mine == other or other == "__version__":
                continue
            seen += 1
            up, down = floor(mine), floor(other)
            if down < 0 or down < up or (down == up and (mine, other) not in NEIGHBOURS):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {other}")
    assert seen > 100
    assert wrong == []


def test_the_exceptions_are_still_needed() -> None:
    used = {
        (room(name), room(what.removeprefix("kefu.")))
        for name, path in modules().items()
        for what, _ in imports(name, path)
        if what.startswith("kefu.")
    }
    assert set(NEIGHBOURS) <= used


def test_torch_lives_in_few_rooms() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {what}"
        for name, path in modules().items()
        for what, line in imports(name, path)
        if room(what) in HEAVY and room(name) not in TORCH
    ]
    assert wrong == []


def test_one_file_touches_trl() -> None:
    users = {
        name
        for name, path in modules().items()
        for what, _ in imports(name, path)
        if room(what) == "trl"
    }
    assert users == {"train.trl_engine"}


def test_ray_is_known_in_one_room_only_and_late() -> None:
    users = {
        name
        for name, path in modules().items()
        for what, _ in imports(name, path)
        if room(what) == "ray"
    }
    assert users and {room(name) for name in users} == {"scale"}
    code = "import sys, kefu.scale, kefu.cli; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_base_is_loaded_in_one_room_only() -> None:
    users = {
        room(name)
        for name, path in modules().items()
        for what, _ in imports(name, path)
        if what.startswith("transformers.AutoModel")
    }
    assert users <= {"weights", "export"}  # an export loads what it wrote, to compare it


LIGHT_DOORS = (
    "cli", "scale", "jobs", "releases", "show", "weights", "faq", "plan", "score", "exam", "reword",
    "recall", "asked", "advise", "prompt", "settings", "workspace", "records", "errors",
)  # fmt: skip


def test_these_rooms_open_without_torch() -> None:
    code = "".join(f"import kefu.{door}\n" for door in LIGHT_DOORS)
    code += f"import sys\nprint([n for n in {HEAVY!r} if n in sys.modules])\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

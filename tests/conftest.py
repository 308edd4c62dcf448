"""What all tests share: where the real data lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from shop_server import Server

# Tiny models gain nothing from threads, and threads that wait for each other cost much where
# other work runs on the machine. Before torch is imported, and for child processes too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

HEAVY = (
    "test_export_", "test_train", "test_weights", "test_bot", "test_faq_fuzz", "test_reword",
    "test_exam_split", "test_recall", "test_studio", "test_serve", "test_feedback", "test_families",
    "test_talk", "test_jobs", "test_advise", "test_scale", "test_open_book",
)  # fmt: skip
"""Files whose tests are slow. The dry tier does not even import them: torch and scikit-learn take
seconds by themselves."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    dry = config.option.markexpr == "not slow"
    return True if dry and collection_path.name.startswith(HEAVY) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name.startswith(HEAVY):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def alone() -> Iterator[None]:
    """No tiny base is read for by the embedded one, which takes seconds to load; test_bot_beside.py
    has what it does."""
    from kefu.plan import reader

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_installed", lambda base: False)
        yield


def shared_data() -> Path:
    """The folder of real FAQ files beside the repository; skips the test where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data, which this clone does not have")
    return folder


@pytest.fixture
def shared() -> Path:
    """`shared_data()` as a fixture."""
    return shared_data()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two real servers over a tiny run, started side by side."""
    from shop_server import both

    with both(tmp_path_factory.mktemp("shops")) as made:
        yield made


@pytest.fixture(scope="session")
def server(servers: tuple[Server, Server]) -> Server:
    """An open one, which another site may call; its answers are markup."""
    return servers[0]


@pytest.fixture(scope="session")
def strict(servers: tuple[Server, Server]) -> Server:
    """One with a key, 60 questions a minute of each address, 8 that may wait; free text."""
    return servers[1]

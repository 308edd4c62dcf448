"""What all tests share: where the real data lies."""

from __future__ import annotations

from pathlib import Path

import pytest


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

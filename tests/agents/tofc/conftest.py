"""Folders with a tiny family and its codec."""

from pathlib import Path

import lookers
import pytest


@pytest.fixture(scope="session")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A family whose codec has a profile."""
    return lookers.family(tmp_path_factory.mktemp("seeing"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same without a profile."""
    folder: Path = tmp_path_factory.mktemp("plain")
    return lookers.family(folder, profile=False)

"""Tiny random models on disk."""

from pathlib import Path

import pytest
import torch

from .rows import KINDS


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each kind."""
    root = tmp_path_factory.mktemp("partition")
    for name, make in KINDS.items():
        torch.manual_seed(3)
        make().save_pretrained(root / name)
    return {name: root / name for name in KINDS}

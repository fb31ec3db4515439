"""One tokenizer for all tests of the folder: training it takes seconds."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from aiflow.nano.tokenizer import train_tokenizer

    return train_tokenizer(0)

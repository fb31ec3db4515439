"""Shortened prompts: text stays, of the image what is kept, each token at its own column."""

import pytest
import torch

from aiflow.collaboration.tofc.sequence import kept
from aiflow.errors import InputError

IMAGE = 9


def test_text_and_the_kept_places_stay_in_order():
    ids_BT = torch.tensor([[1, 2, IMAGE, IMAGE, IMAGE, IMAGE, 3, 4], [1, IMAGE, IMAGE, IMAGE, IMAGE, 5, 6, 7]])
    found = kept(ids_BT, IMAGE, torch.tensor([[0, 3], [1, 2]]))
    assert found.tolist() == [[0, 1, 2, 5, 6, 7], [0, 2, 3, 5, 6, 7]]


def test_all_places_kept_is_the_prompt():
    ids_BT = torch.tensor([[1, IMAGE, IMAGE, 3]])
    assert kept(ids_BT, IMAGE, torch.tensor([[0, 1]])).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("ids", "places"),
    [
        ([[1, IMAGE, IMAGE, 3], [1, IMAGE, 3, 3]], [[0], [0]]),
        ([[1, IMAGE, IMAGE, 3]], [[0, 2]]),
        ([[1, IMAGE, IMAGE, 3]], [[0], [1]]),
        ([[1, 2, 3]], [[0]]),
    ],
)
def test_prompts_that_do_not_fit_are_refused(ids, places):
    with pytest.raises(InputError):
        kept(torch.tensor(ids), IMAGE, torch.tensor(places))

"""A prompt whose image has fewer tokens than places: which columns stay. Knows no model.

Legend: B rows, T tokens with N places of an image in each row, M merged features, S = T - N + M.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from aiflow.errors import InputError


def kept(ids_BT: Tensor, image_token: int, places_BM: Tensor) -> Tensor:
    """The columns (B, S) of a prompt that stay: all of its text, and of the image the places of the centres.

    Each token is then read at the position it had, so that distances in the text and the image stay what they were.

    Args:
        ids_BT: prompts with as many image tokens each.
        image_token: its id.
        places_BM: which of a row's image tokens stay, ascending.

    Raises:
        InputError: for rows with different numbers of image tokens, or a place that is not there.
    """
    image_BT = ids_BT == image_token
    N = int(image_BT[0].sum())
    if bool((image_BT.sum(1) != N).any()) or len(places_BM) != len(ids_BT):
        raise InputError("the rows have different numbers of image tokens; give prompts with as many each.")
    if int(places_BM.max()) >= N:
        raise InputError(f"the image has {N} places and a feature stands at {int(places_BM.max())}; expand the prompt.")
    columns_BN = image_BT.nonzero()[:, 1].view(len(ids_BT), N)
    stay_BT = (~image_BT).scatter(1, columns_BN.gather(1, places_BM), torch.ones_like(places_BM, dtype=torch.bool))
    return stay_BT.nonzero()[:, 1].view(len(ids_BT), -1)


def run_of(ids: Sequence[int], image_token: int, count: int) -> slice:
    """Where a prompt has its image tokens. Raises InputError unless they are one, or ``count`` in a row."""
    found = [i for i, token in enumerate(ids) if token == image_token]
    if len(found) not in (1, count) or found != list(range(found[0], found[0] + len(found))):
        raise InputError(
            f"the prompt has {len(found)} image tokens (id {image_token}); give one, or the image's {count} in a row."
        )
    return slice(found[0], found[-1] + 1)


def expanded(ids: Sequence[int], image_token: int, count: int, vocabulary: int) -> list[int]:
    """A prompt with ``count`` image tokens. Raises InputError as `run_of`, and for ids that are not there."""
    run = run_of(ids, image_token, count)
    if not all(0 <= token < vocabulary for token in ids):
        raise InputError(f"the prompt has ids outside 0..{vocabulary - 1}; use the model's own tokenizer.")
    return [*ids[: run.start], *[image_token] * count, *ids[run.stop :]]

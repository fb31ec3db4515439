"""What is known of a model before it answers a question: its ratings on the *other* questions. No peeking.

Legend: M models, Q questions. For question q nothing of q's own ratings is used, whichever model gave the answer.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aiflow.bench.stats import Floats

PRIOR = 10.0
"""How many questions of its category a model's overall mean counts for; a category has ten."""


def expected(ratings_MQ: Floats, categories: Sequence[str]) -> Floats:
    """The rating expected of each model on each question, ``e_MQ``, from the ratings on all other questions.

    The mean over the other questions of the same category, shrunk towards the mean over all other questions.
    """
    count = ratings_MQ.shape[1]
    kinds = np.array(categories)
    e_MQ = np.empty_like(ratings_MQ)
    for q in range(count):
        others = np.arange(count) != q
        akin = others & (kinds == kinds[q])
        overall_M = ratings_MQ[:, others].mean(axis=1)
        e_MQ[:, q] = (ratings_MQ[:, akin].sum(axis=1) + PRIOR * overall_M) / (akin.sum() + PRIOR)
    return e_MQ


def best_before(ratings_MQ: Floats) -> NDArray[np.intp]:
    """For each question the index of the model that is the best on all other questions, ``m_Q``."""
    total_M1 = ratings_MQ.sum(axis=1, keepdims=True)
    best_Q: NDArray[np.intp] = np.argmax(total_M1 - ratings_MQ, axis=0)
    return best_Q

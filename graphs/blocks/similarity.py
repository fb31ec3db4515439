"""Orders devices by how near their descriptions are to the question: TF-IDF of character n-grams, or any embedding."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from aiflow.types import Message

Embed = Callable[[list[str]], Any]  # texts to one vector each (anything numpy reads), or an awaitable of them
EARLIER = 0.5  # what the earlier questions of a conversation weigh, beside the last one


def questions(turns: Sequence[Message]) -> tuple[str, str]:
    """The last question, and the user's earlier ones in one text."""
    asked = [turn.text for turn in turns if turn.role == "user"] or [turns[-1].text]
    return asked[-1], "\n".join(asked[:-1])


@lru_cache(maxsize=64)
def _index(abouts: tuple[str, ...]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second to load

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    return vectorizer, vectorizer.fit_transform(abouts)


def warm(abouts: Sequence[str]) -> None:
    """Loads scikit-learn and reads the descriptions now, so that no deadline pays for it."""
    _index(tuple(abouts))


def by_tfidf(turns: Sequence[Message], abouts: Sequence[str]) -> list[int]:
    """Indices of ``abouts``, the most similar to the question first; ties keep their order."""
    vectorizer, rows = _index(tuple(abouts))
    last, earlier = (rows @ vectorizer.transform(questions(turns)).T).toarray().T
    return _order(last, earlier)


async def by_embedding(turns: Sequence[Message], abouts: Sequence[str], embed: Embed) -> list[int]:
    """The same by the cosine of vectors from ``embed``, which runs in a thread unless it is async."""
    texts = [*questions(turns), *abouts]
    found = await embed(texts) if inspect.iscoroutinefunction(embed) else await asyncio.to_thread(embed, texts)
    vectors = np.asarray(found, dtype=float)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return _order(unit[2:] @ unit[0], unit[2:] @ unit[1] * bool(texts[1]))


def _order(last: Any, earlier: Any) -> list[int]:
    return [int(i) for i in np.argsort(-(last + EARLIER * earlier), kind="stable")]

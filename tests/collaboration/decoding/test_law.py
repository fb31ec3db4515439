"""The law of a position: the same as transformers' own processors, at each position's own history.

Legend: T positions, V vocabulary.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation import logits_process as hf

from aiflow.collaboration.decoding.law import Law
from aiflow.errors import InputError

V = 40


def theirs(law: Law, row_V: Tensor, history: list[int]) -> Tensor:
    """Probabilities (V,) by transformers' processors, in the order in which `generate` applies them."""
    chain: list[Any] = []
    if law.penalty != 1:
        chain.append(hf.RepetitionPenaltyLogitsProcessor(law.penalty))
    if law.banned:
        chain.append(hf.NoBadWordsLogitsProcessor([[token] for token in law.banned]))
    chain.append(hf.TemperatureLogitsWarper(law.temperature))
    if law.top_k:
        chain.append(hf.TopKLogitsWarper(law.top_k))
    if law.top_p < 1:
        chain.append(hf.TopPLogitsWarper(law.top_p))
    if law.min_p:
        chain.append(hf.MinPLogitsWarper(law.min_p))
    scores = row_V[None].clone()
    for processor in chain:
        scores = processor(torch.tensor([history]), scores)
    return scores.softmax(-1)[0]


def random_logits(seed: int, rows: int = 1, size: int = V) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


laws = st.builds(
    Law,
    temperature=st.floats(0.2, 3),
    top_k=st.integers(0, V + 5),
    top_p=st.floats(0.05, 1),
    min_p=st.sampled_from([0.0, 0.01, 0.1, 0.7]),
    penalty=st.sampled_from([1.0, 0.7, 1.3, 2.5]),
    banned=st.lists(st.integers(0, V - 1), max_size=4, unique=True).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(laws, st.integers(0, 2**32), st.lists(st.integers(0, V - 1), min_size=1, max_size=30))
def test_the_law_is_that_of_transformers(law: Law, seed: int, history: list[int]) -> None:
    logits = random_logits(seed)
    ours = np.exp(law.log_probs(logits, history, len(history))[0])
    np.testing.assert_allclose(ours, theirs(law, logits[0], history).numpy(), rtol=0, atol=1e-12)
    assert ours.sum() == pytest.approx(1, abs=1e-12)
    assert not ours[list(law.banned)].any()


def test_generate_finds_the_same_law_at_every_place() -> None:
    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_head": 1, "n_embd": 8, "n_positions": 32, "vocab_size": V}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)).double().eval()
    model.lm_head.weight.data.mul_(60)
    prompt, law = [3, 17, 3], Law(temperature=2.0, top_k=12, top_p=0.9, min_p=0.05, penalty=1.3, banned=(5, 8))
    found = model.generate(
        torch.tensor([prompt]),
        do_sample=True,
        max_new_tokens=10,
        pad_token_id=0,
        temperature=law.temperature,
        top_k=law.top_k,
        top_p=law.top_p,
        min_p=law.min_p,
        repetition_penalty=law.penalty,
        bad_words_ids=[[token] for token in law.banned],
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
    )
    ours = law.log_probs(torch.cat(found.logits), found.sequences[0].tolist(), len(prompt))
    expected = torch.cat(found.scores).double().softmax(-1).numpy()
    np.testing.assert_allclose(np.exp(ours), expected, rtol=0, atol=1e-6)  # `generate` keeps logits in fp32
    assert 2 < np.isfinite(ours).sum(1).mean() < 12
    assert len({tuple(row) for row in np.isfinite(ours)}) > 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_are_found_in_float64(dtype: torch.dtype) -> None:
    logits = random_logits(1).to(dtype)
    ours = Law(temperature=0.3).log_probs(logits, [0], 1)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, (logits.double() / 0.3).log_softmax(-1).numpy(), atol=1e-13)


def test_every_row_has_its_own_history() -> None:
    logits, tokens, start = random_logits(2, rows=4), [7, 3, 9, 9, 12], 2
    law = Law(temperature=0.8, penalty=2.0)
    ours = np.exp(law.log_probs(logits, tokens, start))
    for t in range(4):
        expected = theirs(law, logits[t], tokens[: start + t]).numpy()
        np.testing.assert_allclose(ours[t], expected, rtol=0, atol=1e-12)
    assert law.argmax(logits, tokens, start) == [
        int(theirs(law, logits[t], tokens[: start + t]).argmax()) for t in range(4)
    ]
    # The second row already sees the proposal 9, and the first one does not.
    flat = torch.ones(2, V)
    odd = np.exp(Law(temperature=1.0, penalty=2.0).log_probs(flat, tokens, start))
    assert odd[0, 9] == odd[0, 20] > odd[0, 3]
    assert odd[1, 9] == odd[1, 3] < odd[1, 20]


def test_the_penalty_lowers_logits_of_either_sign_once_however_often_a_token_was_said() -> None:
    row = torch.tensor([[2.0, -2.0, 0.0, 2.0, -2.0]])
    law = Law(temperature=1.0, penalty=4.0)
    found = law.log_probs(row, [0, 1, 2, 0, 0, 99], 6)
    expected = torch.tensor([[0.5, -8.0, 0.0, 2.0, -2.0]]).double().log_softmax(-1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-13)
    assert law.argmax(row, [0, 1, 2], 3) == [3]
    np.testing.assert_array_equal(row, [[2.0, -2.0, 0.0, 2.0, -2.0]])  # the model's logits stay


def test_padding_of_the_vocabulary_is_never_said() -> None:
    logits = random_logits(3, rows=2)
    logits[:, 30:] = 100.0
    law = Law(temperature=0.9, top_k=8, vocabulary=30)
    ours = law.log_probs(logits, [31, 2], 1)
    assert ours.shape == (2, 30)
    without = replace(law, vocabulary=None).log_probs(logits[:, :30], [31, 2], 1)
    np.testing.assert_array_equal(ours, without)
    assert max(law.argmax(logits, [31, 2], 1)) < 30
    assert Law().argmax(logits, [31, 2], 1) == [30, 30]


def test_banned_ids_are_never_said() -> None:
    logits = random_logits(4, rows=2)
    best = logits.argsort(-1, descending=True)
    law = Law(banned=(int(best[0, 0]), int(best[1, 0])))
    said = law.argmax(logits, [0], 1)
    assert not set(said) & set(law.banned)
    kept = logits.clone()
    kept[:, list(law.banned)] = -torch.inf
    assert said == kept.argmax(-1).tolist()
    assert Law().argmax(logits, [0], 1) == best[:, 0].tolist()  # the model's logits stay


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [3, 17, 1000, 4096])
def test_of_equals_the_lowest_id_is_greedy(dtype: torch.dtype, size: int) -> None:
    logits = torch.zeros(3, size, dtype=dtype)
    logits[0, [1, 2, size - 1]] = 5.0
    logits[1, [0, size - 1]] = 5.0
    assert Law().argmax(logits, [0], 1) == [1, 0, 0]
    assert Law(banned=(0,)).argmax(logits, [0], 1) == [1, size - 1, 1]


def test_what_equals_the_least_that_is_kept_is_kept_too() -> None:
    probs = torch.tensor([[0.3, 0.1, 0.3, 0.1, 0.1, 0.1]], dtype=torch.float64)

    def kept(**options: Any) -> list[int]:
        return np.flatnonzero(np.isfinite(Law(temperature=1.0, **options).log_probs(probs.log(), [0], 1)[0])).tolist()

    assert kept(top_k=1) == [0, 2]
    assert kept(top_k=3) == [0, 1, 2, 3, 4, 5]
    assert kept(min_p=0.3) == [0, 1, 2, 3, 4, 5]
    assert kept(min_p=0.34) == [0, 2]
    assert kept(top_p=0.59) == [0, 2]
    assert kept(top_p=0.61) == [0, 1, 2]  # the lowest id of equals
    assert kept(top_p=1e-9) == [0]
    assert kept(top_p=0.9, top_k=2) == [0, 2]
    probs = torch.full((1, 1000), 0.001, dtype=torch.float64)
    assert kept(top_p=0.4995) == list(range(500))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [-0.1, 10.1, float("nan"), float("inf")]),
        ("top_k", [-1]),
        ("top_p", [0.0, -0.1, 1.1, float("nan")]),
        ("min_p", [-0.1, 1.0, float("nan")]),
        ("penalty", [0.0, -1.0, float("nan")]),
        ("vocabulary", [0, -5]),
    ],
)
def test_values_that_are_no_law_are_refused_by_name(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InputError, match=f"{name}={value!r}"):
            Law(**{name: value})
    for edge in ({"temperature": 10.0}, {"top_p": 1.0}, {"min_p": 0.0}, {"top_k": 0}, {"vocabulary": 1}):
        Law(**edge)  # type: ignore[arg-type]


def test_a_banned_id_beyond_the_vocabulary_changes_nothing() -> None:
    logits = random_logits(5)
    assert Law(banned=(35,), vocabulary=30).argmax(logits, [0], 1) == Law(vocabulary=30).argmax(logits, [0], 1)

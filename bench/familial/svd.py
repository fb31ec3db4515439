"""Low-rank forms of a trained model without any training: which SVD and which ranks keep it best, budget by budget.

Factors are computed once; every budget and method takes first components of them. Whitening and sensitivities come
from calibration texts, perplexities from others. Budgets are shares of the block linears' parameters, and rank h of an
(M, N) matrix counts h (M + N).

Legend: B rows, T tokens, V vocabulary, M outputs, N inputs. Source: AI Flow, section III-A1; SVD-LLM.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.factor import Gram, Whitening, factor, plain, whiten
from aiflow.collaboration.familial.kinds import SHARED_INPUT, get_linear, parts, set_linear
from aiflow.collaboration.familial.linear import LowRank, rank_of
from aiflow.collaboration.familial.ranks import Matrix, Rank, greedy, loss, uniform, with_dense
from aiflow.errors import InputError

BUDGETS = tuple(range(10, 100, 10))
"""Percent of the block linears' parameters."""
METHODS = {
    "plain": "plain SVD, uniform ranks",
    "uniform": "whitened, uniform ranks",
    "relative": "whitened, greedy ranks by relative loss",
    "raw": "whitened, greedy ranks by raw loss",
    "budgeted": "whitened, greedy ranks by measured sensitivity",
    "dense": "the same, matrices may stay dense",
}
PROBE = 0.3
"""Kept share at which a matrix's sensitivity is measured."""
WINDOW = 256

Key = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Token ids padded on the right; ``real_BT``: no padding; ``learned_BT``: what the model was trained to say."""

    ids_BT: Tensor
    real_BT: Tensor
    learned_BT: Tensor


def run(
    *,
    model: Path | str | None = None,
    text: Path | str | None = None,
    calibration: int = 96,
    held_out: int = 64,
    budgets: Sequence[int] = BUDGETS,
    seed: int = 0,
) -> dict[str, Any]:
    """Perplexity of every method at every budget, on held-out text (JSON-able).

    Args:
        model: folder of a causal model; None: the nano base.
        text: a UTF-8 file, cut into windows of 256 tokens, for models of another tokenizer; None: nano dialogues.
        calibration: dialogues (windows) that whitening and sensitivities see.
        held_out: dialogues (windows) for the perplexities.
        budgets: percent.
        seed: of the dialogues.

    Raises:
        InputError: for a text that is too short, or budgets outside 1..99.
        UnsupportedModelError: for an architecture that cannot be decomposed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if model is None:
        from aiflow import nano

        model = nano.resolve("nano/base")[0]
    if not budgets or any(not 1 <= b <= 99 for b in budgets):
        raise InputError(f"budgets {list(budgets)} are not usable; give percents from 1 to 99.")
    tokenizer = AutoTokenizer.from_pretrained(model)
    made = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval().requires_grad_(False)
    if text is None:
        seen, unseen = (dialogues(tokenizer, f"{kind} {seed}", n) for kind, n in _drawn(calibration, held_out))
    else:
        seen, unseen = windows(tokenizer, Path(text), calibration, held_out)
    return {"model": str(model)} | measure(made, seen, unseen, budgets)


def _drawn(calibration: int, held_out: int) -> list[tuple[str, int]]:
    return [("svd calibration", calibration), ("svd held out", held_out)]


@torch.no_grad()
def measure(
    model: Any, seen: Sequence[Batch], unseen: Sequence[Batch], budgets: Sequence[int] = BUDGETS
) -> dict[str, Any]:
    """`run` on a model in memory, which is the same afterwards."""
    forms = Forms(model, seen)
    importance = sensitivities(forms, _some(seen))
    rows = []
    whole = perplexity(model, unseen)
    for budget in budgets:
        row: dict[str, Any] = {"budget": budget}
        for method, (white, ranks) in _ranks(forms, budget, importance).items():
            with forms.installed(white, ranks):
                row[method] = perplexity(model, unseen)
        best = row["budgeted"]["all"]
        row["met"] = best < min(row["plain"]["all"], row["uniform"]["all"])
        rows.append(row)
    return {
        "parameters": forms.total,
        "calibration_tokens": sum(int(b.real_BT.sum()) for b in seen),
        "held_out_tokens": sum(int(b.real_BT[:, 1:].sum()) for b in unseen),
        "full": whole,
        "sensitivity": importance,
        "budgets": rows,
        "met": all(row["met"] for row in rows),
    }


def _ranks(forms: "Forms", budget: int, importance: Mapping[str, float]) -> dict[str, tuple[bool, Mapping[str, Rank]]]:
    """By method: whitened or not, and the ranks."""
    matrices, count = forms.matrices, budget * forms.total // 100
    even = uniform(matrices, budget / 100)
    return {
        "plain": (False, even),
        "uniform": (True, even),
        "relative": (True, greedy(matrices, count)),
        "raw": (True, greedy(matrices, count, weight="raw")),
        "budgeted": (True, greedy(matrices, count, weight=importance)),
        "dense": (True, with_dense(matrices, count, weight=importance)),
    }


class Forms:
    """A model's block linears, and their full-rank factors with and without whitening."""

    def __init__(self, model: Any, seen: Sequence[Batch]) -> None:
        self.model, self.blocks = model, parts(model).text.layers
        self.dense: dict[Key, nn.Module] = {}
        self.factors: dict[tuple[Key, bool], LowRank] = {}
        self.matrices: list[Matrix] = []
        grams = _grams(model, self.blocks, seen)
        for (index, group), gram in grams.items():
            white = whiten(gram)
            for name in group:
                self._add((index, name), white)
        self.total = sum(x.m * x.n for x in self.matrices)

    def _add(self, key: Key, white: Whitening) -> None:
        linear = self.dense[key] = get_linear(self.blocks[key[0]], key[1])
        for whitened, by in ((True, white), (False, plain(linear.in_features))):
            found = factor(linear.weight, by)
            dtype = linear.weight.dtype
            self.factors[key, whitened] = LowRank(found.u_HM.to(dtype), found.v_HN.to(dtype), linear.bias)
            if whitened:
                m, n = linear.weight.shape
                self.matrices.append(Matrix(_name(key), m, n, found.sigma_R))

    @contextmanager
    def installed(self, white: bool, ranks: Mapping[str, Rank]) -> Iterator[None]:
        """Within it, the model runs with these ranks; a matrix that is not named stays dense."""
        try:
            for key in self.dense:
                rank = ranks.get(_name(key), "dense")
                if rank != "dense":
                    set_linear(self.blocks[key[0]], key[1], self.factors[key, white].first(rank))
            yield
        finally:
            for (index, name), linear in self.dense.items():
                set_linear(self.blocks[index], name, linear)


def _name(key: Key) -> str:
    return f"{key[0]}.{key[1]}"


def _grams(model: Any, blocks: Any, seen: Sequence[Batch]) -> dict[tuple[int, tuple[str, ...]], Gram]:
    grams: dict[tuple[int, tuple[str, ...]], Gram] = {}
    handles = []
    now: list[Tensor] = []

    def watch(gram: Gram) -> Callable[..., None]:
        return lambda _module, args: gram.add(args[0], now[0])

    for index, block in enumerate(blocks):
        for group in SHARED_INPUT:
            linear = get_linear(block, group[0])
            gram = grams[index, group] = Gram(linear.in_features)
            handles.append(linear.register_forward_pre_hook(watch(gram)))
    for batch in seen:
        now[:] = [batch.real_BT]
        model(input_ids=batch.ids_BT, use_cache=False)
    for handle in handles:
        handle.remove()
    return grams


def sensitivities(forms: Forms, seen: Sequence[Batch]) -> dict[str, float]:
    """By matrix: how far the model's predictions move, per unit of that matrix's relative loss, if it alone is cut.

    The move is the mean KL divergence from the whole model's predictions in nats, on calibration texts; unlike the rise
    of the loss it is never negative, and no text is so easy that it hides damage.
    """
    logs = [_log_probabilities(forms.model, batch) for batch in seen]
    found = {}
    for x in forms.matrices:
        ranks = {x.name: rank_of(x.m, x.n, PROBE)}
        with forms.installed(True, ranks):
            total, count = 0.0, 0
            for batch, whole_CV in zip(seen, logs, strict=True):
                cut_CV = _log_probabilities(forms.model, batch)
                total += float((whole_CV.exp() * (whole_CV - cut_CV)).sum())
                count += len(whole_CV)
        found[x.name] = max(0.0, total / count) / max(loss([x], ranks), 1e-12)
    return found


def _log_probabilities(model: Any, batch: Batch) -> Tensor:
    """(C, V), of the C tokens that are no padding."""
    logits_BTV = model(input_ids=batch.ids_BT, use_cache=False).logits
    return nn.functional.log_softmax(logits_BTV[batch.real_BT].float(), -1)


def _some(seen: Sequence[Batch], tokens: int = 2000) -> list[Batch]:
    """Batches of about ``tokens`` tokens, spread over all lengths."""
    step = max(1, sum(int(b.real_BT.sum()) for b in seen) // tokens)
    return list(seen[:: min(step, len(seen))])


def perplexity(model: Any, batches: Sequence[Batch]) -> dict[str, float]:
    """Over all tokens but padding and each first one ("all"), and over those the model was trained to say."""
    sums, counts = {"all": 0.0, "learned": 0.0}, {"all": 0, "learned": 0}
    for batch in batches:
        logits_BTV = model(input_ids=batch.ids_BT, use_cache=False).logits[:, :-1].float()
        losses_BT = nn.functional.cross_entropy(logits_BTV.transpose(1, 2), batch.ids_BT[:, 1:], reduction="none")
        for name, chosen_BT in (("all", batch.real_BT[:, 1:]), ("learned", batch.learned_BT[:, 1:])):
            sums[name] += float(losses_BT[chosen_BT].double().sum())
            counts[name] += int(chosen_BT.sum())
    return {name: math.exp(min(700.0, sums[name] / counts[name])) for name in sums if counts[name]}


def dialogues(tokenizer: Any, seed: str, count: int, rows: int = 16) -> list[Batch]:
    """``count`` dialogues of the nano base's data, batched by length. Raises InputError for another tokenizer."""
    from aiflow.nano import tokenizer as tok
    from aiflow.nano.data import base

    if tokenizer.convert_tokens_to_ids("<|assistant|>") != tok.ASSISTANT:
        raise InputError("this model does not have the nano family's tokenizer; give a text file.")
    drawn = sorted(tok.sample(tokenizer, base.stream, random.Random(seed), count), key=lambda row: len(row[0]))
    return [_padded(drawn[i : i + rows]) for i in range(0, count, rows)]


def _padded(rows: Sequence[tuple[list[int], list[bool]]]) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    ids_BT = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in rows])
    real_BT = torch.tensor([[True] * len(ids) + [False] * (width - len(ids)) for ids, _ in rows])
    learned_BT = torch.tensor([[*learned, *[False] * (width - len(learned))] for _, learned in rows])
    return Batch(ids_BT=ids_BT, real_BT=real_BT, learned_BT=learned_BT)


def windows(tokenizer: Any, path: Path, calibration: int, held_out: int) -> tuple[list[Batch], list[Batch]]:
    """The first ``calibration`` windows of a text, and the ``held_out`` ones after them. Raises InputError."""
    ids = tokenizer.encode(path.read_text(encoding="utf-8"), add_special_tokens=False)
    needed = (calibration + held_out) * WINDOW
    if len(ids) < needed:
        raise InputError(f"{path} has {len(ids)} tokens; {needed} are needed, so give a longer text or fewer windows.")
    cut = torch.tensor(ids[:needed]).view(-1, WINDOW)
    none = torch.zeros(1, WINDOW, dtype=torch.bool)
    every = [Batch(ids_BT=row[None], real_BT=~none, learned_BT=none) for row in cut]
    return every[:calibration], every[calibration:]


def show(result: dict[str, Any]) -> None:
    """Prints the perplexities over all tokens by budget and method."""
    from rich.console import Console

    from aiflow.bench.familial.tables import table

    rows = [
        [f"{row['budget']} %", *(f"{row[method]['all']:.3f}" for method in METHODS), "yes" if row["met"] else "no"]
        for row in result["budgets"]
    ]
    title = f"SVD without training · perplexity of {result['held_out_tokens']:,} held-out tokens"
    table(Console(width=120), title, ("budget", *METHODS, "met"), rows, left=1)
    for method, what in METHODS.items():
        print(f"  {method}: {what}")
    print(f"  the whole model: {result['full']['all']:.3f}; met: budgeted is below plain and uniform")

"""The drafter: what a place ahead may see, what the loss counts, that it learns, and its files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from aiflow.collaboration.familial.drafter import Drafter, loss, predict
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.training import TextBatch
from aiflow.errors import InputError, WeightsError
from aiflow.fitting import Recipe, fit

V, W = 40, 4
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": V,
    "initializer_range": 0.3,
}


def family() -> Family:
    torch.manual_seed(0)
    return Family(LlamaForCausalLM(LlamaConfig(**SIZES)).double().eval()).requires_grad_(False)


def drafter(made: Family, width: int = W, blocks: int = 2) -> Drafter:
    torch.manual_seed(1)
    return Drafter(made.parts.config, width=width, blocks=blocks).double()


def states(made: Family, ids: Tensor) -> Tensor:
    return made.hidden(made.embed(ids), [made.depth])[made.depth]


def test_a_draft_sees_the_known_places_and_its_own_and_no_other_draft() -> None:
    made, ids = family(), torch.randint(0, V, (2, 12), generator=torch.Generator().manual_seed(3))
    drafts = drafter(made)
    together = predict(drafts, made, ids, states(made, ids), torch.tensor([[3, 9, 5], [0, 7, 2]]))
    for row, anchors in enumerate([[3, 9, 5], [0, 7, 2]]):
        for k, anchor in enumerate(anchors):
            known = ids[row : row + 1, : anchor + 1]
            alone = predict(drafts, made, known, states(made, known), torch.tensor([[anchor]]))
            torch.testing.assert_close(together[row, k], alone[0, 0])


def test_a_draft_uses_no_state_of_its_anchor_or_after() -> None:
    made, ids = family(), torch.randint(0, V, (1, 8), generator=torch.Generator().manual_seed(3))
    drafts, anchor = drafter(made), torch.tensor([[4]])
    known = states(made, ids)
    other = known.clone()
    other[:, 4:] = 7.0
    torch.testing.assert_close(predict(drafts, made, ids, known, anchor), predict(drafts, made, ids, other, anchor))
    other[:, 3] = 7.0
    assert not torch.allclose(predict(drafts, made, ids, known, anchor), predict(drafts, made, ids, other, anchor))


def batch(weights: list[list[float]]) -> TextBatch:
    ids = torch.randint(0, V, (len(weights), len(weights[0])), generator=torch.Generator().manual_seed(4))
    return TextBatch.of(ids, torch.tensor(weights))


def test_the_loss_is_the_divergence_at_the_places_that_count() -> None:
    made = family()
    drafts, one = drafter(made), batch([[0, 0, 1, 1, 1, 0, 0, 1], [0, 0, 0, 0, 0, 1, 1, 0]])
    given = states(made, one.ids_BT)
    total, weight = torch.tensor(0.0, dtype=torch.float64), 0.0
    norm, head = made.parts.text.norm, made.parts.head
    for row, anchor, places in ((0, 1, 3), (0, 2, 2), (0, 3, 1), (0, 6, 1), (1, 4, 2), (1, 5, 1)):
        said = head(
            norm(predict(drafts, made, one.ids_BT[row : row + 1], given[row : row + 1], torch.tensor([[anchor]])))
        )
        for k in range(places):
            wanted = made(one.ids_BT[row : row + 1], Member(exit=3))[0, anchor + k].log_softmax(-1)
            total += 0.5**k * (wanted.exp() * (wanted - said[0, 0, k].log_softmax(-1))).sum()
            weight += 0.5**k
    torch.testing.assert_close(loss(drafts, made, one, 8, fade=0.5), total / weight)


def test_it_learns_and_the_family_stays_as_it_is(tmp_path: Path) -> None:
    made = family()
    drafts, before = drafter(made), {n: p.clone() for n, p in made.named_parameters()}
    one = batch([[0, 0, 1, 1, 1, 1, 1, 1]] * 6)

    def backward(model: Drafter, given: TextBatch) -> float:
        found = loss(model, made, given, 4)
        found.backward()  # type: ignore[no-untyped-call]
        return found.item()

    first = loss(drafts, made, one, 8).item()
    recipe = Recipe(steps=40, lr=5e-3, warmup=2, every=40)
    fit(drafts, lambda start: iter([one] * (40 - start)), recipe, backward, stage="x", checkpoint=tmp_path / "x.pt")
    assert loss(drafts, made, one, 8).item() < 0.5 * first
    assert all(torch.equal(p, before[n]) for n, p in made.named_parameters())


@pytest.mark.parametrize("width", [1, W])
def test_it_is_read_as_it_was_written(width: int, tmp_path: Path) -> None:
    made = family()
    drafts = drafter(made, width)
    drafts.save_pretrained(tmp_path / "drafter", storage="float32")
    again = Drafter.from_pretrained(tmp_path / "drafter", made)
    for name, weight in drafts.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, atol=1e-6, rtol=1e-6)
    assert (again.width, len(again.blocks)) == (width, 2)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    made = family()
    with pytest.raises(InputError, match="width 0, blocks 2"):
        Drafter(made.parts.config, width=0)
    with pytest.raises(InputError, match="loss weight"):
        loss(drafter(made), made, batch([[0.0, 0.0, 0.0]]), 4)
    with pytest.raises(WeightsError, match="there is no drafter in"):
        Drafter.from_pretrained(tmp_path, made)
    drafter(made).save_pretrained(tmp_path)
    torch.manual_seed(0)
    other = Family(LlamaForCausalLM(LlamaConfig(**{**SIZES, "hidden_size": 64})))
    with pytest.raises(WeightsError, match="a model of size 32, not 64"):
        Drafter.from_pretrained(tmp_path, other)
    torch.manual_seed(0)
    wider = Family(LlamaForCausalLM(LlamaConfig(**{**SIZES, "intermediate_size": 64})))
    with pytest.raises(WeightsError, match="another family"):
        Drafter.from_pretrained(tmp_path, wider)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:2000])
    with pytest.raises(WeightsError):
        Drafter.from_pretrained(tmp_path, made)


def test_a_drafter_without_weights_is_told(tmp_path: Path) -> None:
    made = family()
    drafter(made).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError):
        Drafter.from_pretrained(tmp_path, made)

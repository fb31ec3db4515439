"""Members share weights with the family, are standard models, and are counted exactly."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from aiflow.collaboration.familial.family import Family, Member
from aiflow.errors import InputError, UnsupportedModelError

KINDS = ("llama", "qwen2", "qwen3", "mistral", "llava")
MEMBERS = [Member(exit=1), Member(exit=2, keep=0.3), Member(exit=3), Member(exit=3, keep=0), Member(exit=4)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_member_is_the_backbone(family, kind, ids):
    made = family(kind)
    with torch.no_grad():
        wanted = made.backbone(ids).logits
        assert torch.equal(made.member(Member(exit=4))(ids).logits, wanted)
        assert (made(ids, Member(exit=4)) - wanted).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_a_member_is_a_standard_model_that_computes_the_familys_logits(family, kind, member, ids):
    made = family(kind)
    one = made.member(member)
    assert type(one) is type(made.backbone)
    with torch.no_grad():
        assert (one(ids).logits - made(ids, member)).abs().max() < 1e-12
        out = one.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False, pad_token_id=0)
        again = ids
        for _ in range(4):
            again = torch.cat([again, made(again, member)[:, -1:].argmax(-1)], 1)
    assert torch.equal(out, again)


def test_a_member_shares_memory_and_gradients_with_the_family(family, ids):
    made = family("llama")
    one = made.member(Member(exit=2, keep=0.3))
    one(ids).logits.square().mean().backward()
    whole = made.branches["2"].blocks[0].mlp.up_proj
    rank = one.model.layers[2].mlp.up_proj.rank
    assert rank < whole.rank
    assert whole.u.grad[:rank].abs().sum() > 0
    assert whole.u.grad[rank:].abs().sum() == 0
    assert made.parts.text.layers[0].mlp.up_proj.weight.grad is not None
    assert made.parts.text.layers[3].mlp.up_proj.weight.grad is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_counts_are_those_of_the_member_model(family, kind, tied):
    made = family(kind, tied=tied)
    for member in (Member(exit=1), Member(exit=3), Member(exit=3, keep=0), Member(exit=4)):
        own = {id(p): p.numel() for p in made.member(member).parameters()}
        assert made.count(member) == sum(own.values())
    assert made.count(Member(exit=2, keep=0.3)) < made.count(Member(exit=2))


def test_members_run_at_the_same_time_with_equal_bits(family):
    made = family("llama", exits=(1, 2, 3))
    wanted = [Member(exit=1), Member(exit=2), Member(exit=2, keep=0.3), Member(exit=3), Member(exit=4)]
    prompts = [torch.randint(0, 48, (1, 5 + i), generator=torch.Generator().manual_seed(i)) for i in range(6)]

    def talk(member: Member) -> list[torch.Tensor]:
        one = made.member(member)
        with torch.inference_mode():
            outs = [one.generate(p, max_new_tokens=6, do_sample=False, pad_token_id=0) for p in prompts]
            return [*outs, *(one(p).logits for p in prompts)]

    alone = [talk(m) for m in wanted]
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(talk, wanted))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(alone[0][-1], alone[4][-1])


def test_images_reach_a_member_as_they_reach_the_backbone(family):
    made = family("llava")
    ids = torch.tensor([[1, 49, 49, 49, 49, 5, 6]])
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        one = made.member(Member(exit=2))
        seen = one(ids, pixel_values=pixels).logits
        assert (seen - made(ids, Member(exit=2), pixels)).abs().max() < 1e-12
        assert (seen - one(ids, pixel_values=pixels + 1).logits).abs().max() > 1e-3
        with pytest.raises(InputError, match="3 image tokens for 4 image features"):
            made.embed(ids[:, [0, 1, 2, 3, 5]], pixels)


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (Member(exit=0), "exit 0 is not in this family; its exits are 1, 3, 4"),
        (Member(exit=5), "exit 5 is not in this family"),
        (Member(exit=2), "exit 2 is not in this family"),
        (Member(exit=1, keep=0.9), "keep=0.9 is not usable; this branch stores"),
        (Member(exit=1, keep=1.5), "keep=1.5 is not usable"),
        (Member(exit=4, keep=0.5), "the full model .exit 4. has no branch"),
    ],
)
def test_what_is_not_there_is_refused(family, member, said):
    with pytest.raises(InputError, match=said):
        family("llama", exits=(1, 3)).member(member)


def test_a_branch_may_not_hang_where_no_block_follows(family):
    made = family("llama", exits=(1,))
    branch = copy.deepcopy(made.branches["1"])
    with pytest.raises(InputError, match="exits 1 to 3"):
        made.add(4, branch)


def test_other_architectures_are_refused():
    import transformers as hf

    gpt2 = hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=10))
    with pytest.raises(UnsupportedModelError, match="'gpt2' model cannot be decomposed"):
        Family(gpt2).member(Member(exit=1))


def test_the_bare_exit_reads_the_hidden_states_with_the_backbones_head(model, ids):
    backbone = model("llama")
    with torch.no_grad():
        hidden = backbone(ids, output_hidden_states=True).hidden_states[2]
        wanted = backbone.lm_head(backbone.model.norm(hidden))
        assert (Family(backbone)(ids, Member(exit=2, keep=0)) - wanted).abs().max() < 1e-12


@pytest.mark.parametrize(("text", "member"), [("2", Member(exit=2)), ("3:0.75", Member(exit=3, keep=0.75))])
def test_members_have_names(text, member):
    assert Member.parse(text) == member
    assert str(member) == text
    with pytest.raises(InputError, match="EXIT:KEEP"):
        Member.parse("small")

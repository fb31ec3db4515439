"""Tokens that leave at different exits: each is what its member says, and a call decides about itself only."""

import pytest
import torch

from aiflow.collaboration.familial.family import Member
from aiflow.collaboration.familial.generate import generate
from aiflow.errors import InputError

EARLY, MIDDLE, FULL = Member(exit=1), Member(exit=2, keep=0.3), Member(exit=4)
PROMPT = [3, 14, 15, 9, 26, 5, 35]


def greedy(family, member, count):
    ids = torch.tensor([PROMPT])
    for _ in range(count):
        ids = torch.cat([ids, family(ids, member)[:, -1:].argmax(-1)], 1)
    return tuple(ids[0, len(PROMPT) :].tolist())


@pytest.mark.parametrize(("threshold", "who"), [(0.0, EARLY), (1.1, FULL)])
def test_the_threshold_decides_between_first_and_last(family, threshold, who):
    made = family("llama")
    found = generate(made, PROMPT, members=[EARLY, MIDDLE, FULL], threshold=threshold, limit=8)
    with torch.no_grad():
        assert found.ids == greedy(made, who, 8)
    assert set(found.members) == {who}


def test_each_token_is_its_members_own_and_the_first_sure_one_says_it(family):
    made = family("qwen2")
    members = [EARLY, MIDDLE, FULL]
    sure = generate(made, PROMPT, members=members, threshold=1.1, limit=12).confidences
    threshold = sorted(sure)[len(sure) // 2]
    found = generate(made, PROMPT, members=members, threshold=threshold, limit=12)
    assert len(set(found.members)) > 1
    with torch.no_grad():
        for place, (token, member) in enumerate(zip(found.ids, found.members, strict=True)):
            ids = torch.tensor([[*PROMPT, *found.ids[:place]]])
            tops = {m: made(ids, m)[0, -1].softmax(-1).max(-1) for m in members}
            first = next((m for m in members if tops[m].values >= threshold - 1e-9), FULL)
            assert (member, token) == (first, int(tops[member].indices))


def test_images_and_stops(family):
    made = family("llava")
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    prompt = [1, 49, 49, 49, 49, 5, 6]
    found = generate(made, prompt, members=[EARLY], pixel_values=pixels, limit=5)
    with torch.no_grad():
        first = int(made(torch.tensor([prompt]), EARLY, pixels)[0, -1].argmax())
    assert found.ids[0] == first
    stopped = generate(made, prompt, members=[EARLY], pixel_values=pixels, limit=5, stop=[first])
    assert stopped.ids == stopped.members == ()


def test_misuse_is_refused(family):
    made = family("llama", exits=(1, 2))
    with pytest.raises(InputError, match="ascending order"):
        generate(made, PROMPT, members=[FULL, EARLY])
    with pytest.raises(InputError, match="ascending order"):
        generate(made, PROMPT, members=[])
    with pytest.raises(InputError, match="0 prompt tokens"):
        generate(made, [], members=[FULL])
    with pytest.raises(InputError, match="exit 3 is not in this family"):
        generate(made, PROMPT, members=[Member(exit=3)])

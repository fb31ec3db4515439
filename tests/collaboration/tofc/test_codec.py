"""The codec: soft passes become hard ones, levels and sizes are checked, the basis is that of the features."""

from itertools import pairwise

import pytest
import torch

from aiflow.bench.tofc.speed import plausible
from aiflow.collaboration.tofc.codec import Codec, CodecConfig
from aiflow.errors import InputError

SMALL = CodecConfig(channels=24, basis=12, hidden=32, hyper=6, models=3, tokens=(2, 4))


@pytest.fixture(scope="module")
def made():
    codec, x_NC = plausible(SMALL)
    return codec, x_NC[:80].view(2, 40, 24)


@pytest.mark.parametrize("level", range(4))
def test_a_cold_router_gives_the_hard_choice(made, level):
    codec, x_BNC = made
    hard = codec.quantise(codec.merge(x_BNC, 8)[0], level)
    found = [codec(x_BNC, tokens=8, level=level, temperature=t).x_BMC for t in (1e-6, 1.0)]
    torch.testing.assert_close(found[0], hard, rtol=1e-4, atol=1e-4)
    # The negative control: a warm router mixes.
    assert (found[1] - hard).abs().max() > 1e-3


def test_a_hard_choice_is_one_model_for_each_feature(made):
    codec, x_BNC = made
    x_BMC, _ = codec.merge(x_BNC, 8)
    u_BMD = codec.analyse(x_BMC, 1)
    best_BM = codec.router(u_BMD).argmax(-1)
    assert len(best_BM.unique()) > 1
    every = codec.models(u_BMD, 1)[0]
    chosen = torch.stack([every[b, m, best_BM[b, m]] for b in range(2) for m in range(8)]).view(2, 8, -1)
    torch.testing.assert_close(codec.quantise(x_BMC, 1), codec.synthesise(chosen, 1), rtol=1e-5, atol=1e-5)


def test_without_a_level_features_are_merged_only(made):
    codec, x_BNC = made
    coded = codec(x_BNC, tokens=8, level=None)
    assert torch.equal(coded.x_BMC, codec.merge(x_BNC, 8)[0])
    assert not coded.bits_B.any()


def test_every_weight_of_a_level_learns(made):
    codec, x_BNC = made
    codec.zero_grad()
    coded = codec(x_BNC, tokens=8, level=2)
    (coded.x_BMC.square().sum() + coded.bits_B.sum() + coded.balance).backward()
    own = codec.mean, codec.down, codec.up, codec.step[2], *codec.router.parameters(), *codec.models.parameters()
    for weight in own:
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().sum() > 0
    assert not codec.models.out_bias.grad[0].any()  # of another level
    codec.zero_grad()


def test_a_started_codec_keeps_what_its_basis_holds():
    codec, x_NC = plausible(CodecConfig(channels=24, basis=24, hidden=8, hyper=4, models=1))
    u_ND = codec.analyse(x_NC, 1)
    torch.testing.assert_close(codec.synthesise(u_ND, 1), x_NC, rtol=1e-3, atol=1e-3)
    assert torch.allclose(torch.cov(u_ND.T), torch.eye(24), atol=1e-3)  # a step of 1 is a deviation


def test_finer_levels_are_nearer(made):
    codec, x_BNC = made
    x_BMC, _ = codec.merge(x_BNC, 8)
    kept = codec.synthesise(codec.analyse(x_BMC, 0), 0).detach()
    errors = [float((codec.quantise(x_BMC, level) - kept).square().mean()) for level in range(4)]
    assert all(fine < coarse for coarse, fine in pairwise(errors))


def test_levels_and_samples_that_do_not_fit_are_refused(made):
    codec, x_BNC = made
    for level in (-1, 4):
        with pytest.raises(InputError):
            codec(x_BNC, tokens=8, level=level)
        with pytest.raises(InputError):
            codec.quantise(x_BNC, level)
    with pytest.raises(InputError):
        Codec(SMALL).start(torch.randn(23, 24), (1.0,) * 4)
    with pytest.raises(InputError):
        Codec(SMALL).start(torch.randn(50, 24), (1.0,) * 3)

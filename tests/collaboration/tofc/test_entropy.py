"""Rounding that gradients pass through, the router's balance, and coding's float64 beside training's float32."""

import numpy as np
import pytest
import torch

from aiflow.bench.tofc.speed import plausible
from aiflow.collaboration.tofc import laplace
from aiflow.collaboration.tofc.codec import CodecConfig
from aiflow.collaboration.tofc.entropy import balance, noisy, rounded

SMALL = CodecConfig(channels=24, basis=12, hidden=32, hyper=6, models=3, tokens=(2, 4))


def test_rounding_rounds_and_passes_gradients_on():
    x = torch.linspace(-3, 3, 61, requires_grad=True)
    rounded(x).sum().backward()
    assert torch.equal(rounded(x.detach()), x.detach().round())
    assert torch.equal(x.grad, torch.ones_like(x))
    # The negative control: plain rounding has no gradient.
    x.grad = None
    x.round().sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_noise_is_one_step_wide():
    torch.manual_seed(0)
    spread = noisy(torch.zeros(20_000))
    assert spread.abs().max() <= 0.5
    assert float(spread.var()) == pytest.approx(1 / 12, rel=0.05)


def test_decoded_features_are_half_a_step_from_their_own():
    codec, x_NC = plausible(SMALL)
    for level in range(4):
        u = codec.analyse(x_NC, level)
        found, cost = codec.models(u, level)
        assert (found - u[:, None]).abs().max() <= 0.5 + 1e-5
        assert cost.shape == (len(u), 3)
        assert (cost > 0).all()


def test_balance_is_none_for_equal_use_and_most_for_one_model():
    for models in (2, 5):
        assert float(balance(torch.full((4, 6, models), 1 / models))) == pytest.approx(0, abs=1e-12)
        one = torch.nn.functional.one_hot(torch.zeros(4, 6, dtype=torch.long), models).float()
        assert float(balance(one)) == pytest.approx(1 - 1 / models)
        shared = torch.nn.functional.one_hot(torch.arange(60) % models, models).float()
        assert float(balance(shared)) == pytest.approx(0, abs=1e-12)


def test_coding_computes_what_training_does():
    codec, x_NC = plausible(SMALL)
    frozen = codec.models.frozen()
    generator = np.random.default_rng(0)
    for level in range(4):
        u_MD = codec.analyse(x_NC, level).detach()
        model_M = generator.integers(3, size=len(u_MD)).astype(np.int32)
        rows = torch.arange(len(u_MD)), torch.from_numpy(model_M).long()
        raw_MZ = frozen.analyse(u_MD, model_M, level)
        torch.testing.assert_close(torch.from_numpy(raw_MZ), codec.models.analyse(u_MD, level)[rows].detach())
        z_MZ = np.rint(raw_MZ).astype(np.int32)
        mean_MD, index_MD = frozen.synthesise(z_MZ, model_M, level)
        z_MEZ = torch.from_numpy(z_MZ).float()[:, None].expand(-1, 3, -1)
        mean, scale = (t[rows].detach() for t in codec.models.synthesise(z_MEZ, level))
        torch.testing.assert_close(torch.from_numpy(mean_MD), mean, rtol=1e-4, atol=1e-4)
        away = np.log(np.asarray(laplace.SCALES)[index_MD] / scale.numpy().clip(laplace.LEAST, laplace.MOST))
        half = 0.5 * np.log(laplace.MOST / laplace.LEAST) / (laplace.COUNT - 1)
        assert np.abs(away).max() < half + 1e-4
        assert len(np.unique(index_MD)) > 5


def test_the_prior_of_coding_is_that_of_training_in_sixteenths():
    codec, _ = plausible(SMALL)
    for level in range(4):
        whole_EZ, table_EZ = codec.models.frozen().prior(level)
        mean, scale = (t.detach().numpy() for t in codec.models.prior(level))
        rest = (table_EZ % laplace.PARTS - laplace.PARTS // 2) / laplace.PARTS
        assert np.abs(whole_EZ + rest - mean).max() <= 1 / 32 + 1e-6
        assert np.array_equal(table_EZ // laplace.PARTS, laplace.nearest(scale.astype(np.float64)))

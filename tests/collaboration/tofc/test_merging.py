"""Merging: means and counts are kept, centres are dense and far apart, and no scale of the features breaks it."""

import math

import pytest
import torch

from aiflow.collaboration.tofc.merging import cluster
from aiflow.errors import InputError


def features(B=2, N=60, C=7, dtype=torch.float64, seed=0):
    return torch.randn(B, N, C, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def naive(x_NC, neighbours, exp=torch.exp):
    """Density and score of each feature by the formulas of the paper, one feature at a time."""
    distance_NN = torch.cdist(x_NC, x_NC, compute_mode="donot_use_mm_for_euclid_dist") / math.sqrt(x_NC.shape[1])
    density_N = exp(-distance_NN.topk(neighbours, largest=False).values.square().mean(-1))
    score_N = []
    for i, own in enumerate(density_N):
        denser = density_N > own
        score_N.append(own * (distance_NN[i][denser].min() if denser.any() else distance_NN.max()))
    return density_N, torch.stack(score_N)


@pytest.mark.parametrize("count", [1, 5, 59, 60])
def test_the_mean_of_all_is_kept_and_every_centre_leads_its_own_cluster(count):
    x_BNC = features()
    found = cluster(x_BNC, count)
    counts_BM = found.counts_BM
    assert (counts_BM >= 1).all()
    assert (counts_BM.sum(1) == x_BNC.shape[1]).all()
    total = (counts_BM[..., None] * found.merge(x_BNC)).sum(1)
    torch.testing.assert_close(total, x_BNC.sum(1), rtol=0, atol=1e-12 * x_BNC.shape[1])
    assert torch.equal(found.labels_BN.gather(1, found.centres_BM), torch.arange(count).expand(2, -1))
    assert (found.centres_BM.diff(dim=1) > 0).all()


def test_every_feature_alone_is_the_identity_and_one_cluster_is_the_mean():
    x_BNC = features()
    assert torch.equal(cluster(x_BNC, 60).merge(x_BNC), x_BNC)
    torch.testing.assert_close(cluster(x_BNC, 1).merge(x_BNC)[:, 0], x_BNC.mean(1), rtol=0, atol=1e-12)


def test_separate_blobs_become_the_clusters():
    blob_N = torch.arange(10).repeat_interleave(20)[torch.randperm(200, generator=torch.Generator().manual_seed(1))]
    x_1NC = (100 * features(1, 10, 8)[0][blob_N] + 0.5 * features(1, 200, 8, seed=2)[0])[None]
    labels_N = cluster(x_1NC, 10).labels_BN[0]
    pairs = set(zip(labels_N.tolist(), blob_N.tolist(), strict=True))
    assert len(pairs) == len({label for label, _ in pairs}) == len({blob for _, blob in pairs}) == 10


def test_order_of_the_input_does_not_matter_and_runs_repeat():
    x_BNC = features(1)
    first, again = cluster(x_BNC, 9), cluster(x_BNC, 9)
    assert torch.equal(first.centres_BM, again.centres_BM)
    assert torch.equal(first.labels_BN, again.labels_BN)
    order_N = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    moved = cluster(x_BNC[:, order_N], 9)
    assert sorted(order_N[moved.centres_BM[0]].tolist()) == first.centres_BM[0].tolist()


def test_logarithms_give_the_order_of_the_plain_formula():
    x_NC = features(1)[0]
    _, score_N = naive(x_NC, 5)
    for count in range(1, 61):
        assert cluster(x_NC[None], count).centres_BM[0].tolist() == sorted(score_N.topk(count).indices.tolist())


def test_large_features_are_merged_as_in_double_precision_where_plain_densities_vanish():
    x_1NC = 60 * features(1, 300, 16, torch.float32)
    found, exact = cluster(x_1NC, 20), cluster(x_1NC.double(), 20)
    assert (found.counts_BM >= 1).all()
    assert torch.equal(found.centres_BM, exact.centres_BM)
    assert torch.equal(found.labels_BN, exact.labels_BN)
    # The negative control: no order is left without logarithms.
    density_N, _ = naive(x_1NC[0], 5)
    assert (density_N == 0).all()


def test_of_equal_features_the_first_is_the_centre():
    x_1NC = features(1, 4, 3).repeat_interleave(5, 1)
    assert cluster(x_1NC, 4).centres_BM[0].tolist() == [0, 5, 10, 15]


def test_the_mean_has_a_gradient():
    x_BNC = features().requires_grad_()
    cluster(x_BNC, 4).merge(x_BNC).sum().backward()
    assert (x_BNC.grad > 0).all()


@pytest.mark.parametrize(
    ("x", "count", "neighbours"),
    [
        (features(), 0, 5),
        (features(), 61, 5),
        (features()[0], 2, 5),
        (features().long(), 2, 5),
        (features(), 2, 0),
        (features() / 0, 2, 5),
        (1e30 * features(dtype=torch.float32), 2, 5),
    ],
)
def test_what_cannot_be_merged_is_refused(x, count, neighbours):
    with pytest.raises(InputError):
        cluster(x, count, neighbours=neighbours)

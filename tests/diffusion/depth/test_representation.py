"""The anchor's representation: inverses, ranges, infinity, fusion."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.diffusion.depth import representation as rep
from aiflow.diffusion.depth.representation import ANCHORS, Taper
from aiflow.errors import InputError

TAPERS = [Taper(), Taper(kind="absolute", k=0.05), Taper(kind="relative", k=1.0)]
metres = st.floats(0.1, 290.0)
anchors = st.floats(0.5, 100.0)


@settings(deadline=None, max_examples=50)
@given(depth=metres, anchor=anchors)
def test_near_depth_inverts_scaling(depth: float, anchor: float) -> None:
    d, a = torch.tensor([depth]), torch.tensor([anchor])
    assert rep.near_depth(rep.scaled(d, a), a).item() == pytest.approx(depth, rel=1e-5)
    assert (rep.scaled(d, a) <= 1).item() == rep.near_mask(d, a).item()


@pytest.mark.parametrize("taper", TAPERS)
@settings(deadline=None, max_examples=50)
@given(ratio=st.floats(1.0, 50.0), anchor=anchors)
def test_far_depth_inverts_tapering(taper: Taper, ratio: float, anchor: float) -> None:
    depth = min(anchor * ratio, 290.0)
    d, a = torch.tensor([depth]), torch.tensor([anchor])
    t = rep.tapered(d, a, taper)
    assert 0 <= t.item() <= 1
    assert rep.far_depth(t, a, taper).item() == pytest.approx(depth, rel=1e-4)


@pytest.mark.parametrize("taper", TAPERS)
@settings(deadline=None, max_examples=50)
@given(anchor=anchors, near=st.floats(0.0, 100.0), more=st.floats(0.1, 100.0))
def test_tapering_falls_with_distance(taper: Taper, anchor: float, near: float, more: float) -> None:
    a = torch.tensor([anchor], dtype=torch.float64)
    t = rep.tapered(torch.tensor([anchor + near, anchor + near + more], dtype=torch.float64), a, taper)
    assert t[0] > t[1] >= 0


@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_sky_is_zero_and_comes_back_as_infinity(taper: Taper, anchor: float) -> None:
    a = rep.anchors_tensor([anchor])
    sky = torch.full((1, 2, 2), torch.inf)
    assert rep.tapered(sky, a, taper).eq(0).all()
    assert rep.far_depth(torch.zeros(1, 2, 2), a, taper).isinf().all()
    assert rep.far_depth(torch.ones(1, 2, 2), a, taper).equal(torch.full((1, 2, 2), anchor))


@settings(deadline=None, max_examples=50)
@given(near=st.floats(0.1, 50), far=st.floats(0.1, 250), logit=st.floats(-20, 20))
def test_fusion_lies_between_its_branches(near: float, far: float, logit: float) -> None:
    n, f, m = (torch.tensor([x]) for x in (near, far, logit))
    hard, soft = rep.fuse(n, f, m).item(), rep.fuse(n, f, m, soft=True).item()
    assert hard == (n if m > 0 else f).item()
    assert min(near, far) * (1 - 1e-5) <= soft <= max(near, far) * (1 + 1e-5)
    assert abs(soft - hard) <= abs(near - far) + 1e-3


def test_soft_fusion_with_an_infinite_far_side_is_decided_by_the_mask() -> None:
    n, f = torch.tensor([3.0, 3.0]), torch.tensor([torch.inf, torch.inf])
    assert rep.fuse(n, f, torch.tensor([1.0, -1.0]), soft=True).tolist() == [3.0, torch.inf]


def test_beyond_grows_from_a_half_at_the_anchor() -> None:
    found = rep.beyond(torch.tensor([10.0, 11.0, 20.0, torch.inf]), torch.tensor(10.0))
    assert found[0] == 0.5
    assert (found.diff() > 0).all()
    assert found[-1] == 1


def test_average_in_log_depth() -> None:
    def average(*depths: float) -> float:
        return rep.average(torch.tensor(depths)[:, None], 300.0).item()

    assert average(2.0, torch.nan, 8.0) == pytest.approx(4.0)
    assert average(3.0) == 3.0
    assert average(torch.inf, torch.inf, 8.0) == torch.inf
    assert average(torch.inf, 8.0, 8.0) == pytest.approx(8.0)
    assert average(torch.inf) == torch.inf
    assert torch.isnan(torch.tensor([average(torch.nan), average(torch.nan, torch.nan)])).all()


def test_resizing_keeps_sky_and_edges_of_what_is_known() -> None:
    inf, nan = torch.inf, torch.nan
    depth = torch.tensor([[2.0, 8.0, inf, inf], [2.0, 8.0, nan, nan]])
    big = rep.resize_depth(depth, (4, 8))
    assert big[:2, 4:].isinf().all()
    assert big[2:, 4:].isnan().all()
    assert big[:, :4].isfinite().all()
    assert big[0, 0].item() == pytest.approx(2.0)
    assert big[0, 3].item() == pytest.approx(8.0)  # sky does not leak in
    assert 2 < big[0, 1] < big[0, 2] < 8
    assert rep.resize_depth(depth, (2, 4)) is depth


def test_automatic_anchor() -> None:
    depth = torch.cat([torch.full((95,), 4.0), torch.full((5,), 70.0), torch.full((100,), torch.inf)])
    assert rep.automatic(depth, ANCHORS) == 5.0
    assert rep.automatic(torch.full((4,), 500.0), ANCHORS) == 80.0
    assert rep.automatic(torch.full((4,), torch.inf), ANCHORS) == 80.0


@pytest.mark.parametrize("wrong", [[], [0.0], [float("nan")], [-3.0], [5.0] * 17, [float("inf")]])
def test_wrong_anchors(wrong: list[float]) -> None:
    with pytest.raises(InputError):
        rep.anchors_tensor(wrong)


@pytest.mark.parametrize("wrong", [{"kind": "steep"}, {"k": 0.0}, {"k": float("nan")}, {"limit": 0.0}])
def test_wrong_tapers(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Taper(**wrong)  # type: ignore[arg-type]

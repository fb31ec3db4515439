"""FVD, KVD, fidelity, caption accuracy and intervals: against values known beforehand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aiflow.diffusion.video import metrics
from aiflow.diffusion.video.data import SHAPES, Clips, depth_metres, edge_mask, generate, segment_labels
from aiflow.diffusion.video.judges import ClipReader, ViewReader
from aiflow.errors import InputError, WeightsError


def test_golden_numbers() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 32)), rng.standard_normal((500, 32)) * 1.2 + 0.3
    assert metrics.fvd(x, y) == pytest.approx(5.39992622318, abs=1e-8)
    assert metrics.kvd(x, y) == pytest.approx(0.328984066879, abs=1e-8)


def test_any_extractor_will_do() -> None:
    clips = generate("test", 40).views["rgb"]

    def extractor(x: Tensor) -> Tensor:
        return x.mean((3, 4)).flatten(1)

    real = metrics.features(extractor, clips)
    assert real.shape == (40, 24)
    assert metrics.fvd(real, real) == pytest.approx(0, abs=1e-9)
    worse = [metrics.fvd(real, metrics.features(extractor, clips + shift)) for shift in (0.1, 0.3)]
    assert worse == pytest.approx([24 * 0.01, 24 * 0.09], rel=1e-3)  # a shift moves the means and nothing else
    with pytest.raises(InputError, match="NaN"):
        metrics.features(lambda x: extractor(x) / 0, clips)
    with pytest.raises(InputError, match="two or more"):
        metrics.features(extractor, clips[:1])


def test_i3d_is_asked_as_published(tmp_path: Path) -> None:
    class Detector(nn.Module):
        def forward(self, x: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
            assert not rescale
            assert not resize
            assert return_features
            assert x.shape[1] == 3
            assert x.shape[3:] == (224, 224)
            return x.mean((2, 3, 4))

    torch.jit.script(Detector()).save(str(tmp_path / "i3d.pt"))
    extract = metrics.i3d(tmp_path / "i3d.pt")
    clips = torch.rand(2, 10, 3, 20, 32)
    assert torch.allclose(extract(clips), clips[..., 6:26].mean((1, 3, 4)), atol=0.02)
    with pytest.raises(InputError, match="10 frames"):
        extract(clips[:, :9])
    (tmp_path / "no.pt").write_bytes(b"no")
    with pytest.raises(WeightsError, match=r"no\.pt"):
        metrics.i3d(tmp_path / "no.pt")


def test_fidelity_is_perfect_for_the_truth_and_known_for_known_errors() -> None:
    clips = generate("test", 6)
    depth = depth_metres(clips.views["depth"]).astype(np.float64)
    labels, edges = segment_labels(clips.views["segment"]), edge_mask(clips.views["edges"])
    perfect = metrics.compare(depth, labels, edges, clips.views).value()
    assert perfect == {"absrel": pytest.approx(0, abs=1e-6), "miou": 1.0, "edge_f1": 1.0}
    assert metrics.compare(depth * 1.1, labels, edges, clips.views).value()["absrel"] == pytest.approx(0.1, rel=1e-4)
    nothing = metrics.compare(depth, np.zeros_like(labels), np.zeros_like(edges), clips.views).value()
    present = {int(c) for c in np.unique(labels)}
    assert nothing["edge_f1"] == 0
    assert nothing["miou"] == pytest.approx((labels == 0).mean() / len(present))
    half = edges & (np.cumsum(edges, axis=-1) % 2 == 0)
    recall = half.sum() / edges.sum()
    assert metrics.compare(depth, labels, half, clips.views).value()["edge_f1"] == pytest.approx(
        2 * recall / (1 + recall)
    )
    some = metrics.compare(depth * 1.1, labels, edges, clips.views)
    assert some.value(np.array([0, 0, 3]))["absrel"] == pytest.approx(0.1, rel=1e-4)


class Knowing(nn.Module):
    """Names what the clips' own attributes are, but for the colour of the first."""

    def __init__(self, clips: Clips) -> None:
        super().__init__()
        said = clips.attributes.copy()
        said[0, 1] = (said[0, 1] + 1) % 5
        self.said = said

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        names = ("shape", "colour", "motion", "background")
        return {n: torch.eye(8)[self.said[: len(x), a]] for a, n in enumerate(names)}


def test_caption_hits() -> None:
    clips = generate("test", 5)
    hits = metrics.caption_hits(Knowing(clips), clips.views["rgb"], clips)  # type: ignore[arg-type]
    assert hits.shape == (5, 4)
    assert hits.sum() == 19
    assert hits[0, 1] == 0


def test_intervals_cover_the_mean_and_shrink_with_clips() -> None:
    rng = np.random.default_rng(3)
    scores = [rng.normal(5, 1, 400) for _ in range(3)]
    one = metrics.bootstrap(lambda s, rows: float(scores[s][rows].mean()), [400] * 3)
    assert one.lo < 5 < one.hi
    assert one.value == pytest.approx(np.mean(scores))
    half = 1.96 * np.sqrt(1 / 1200 + np.var([s.mean() for s in scores]) / 3)
    assert (one.hi - one.lo) / 2 == pytest.approx(half, rel=0.2)
    few = metrics.bootstrap(lambda s, rows: float(scores[s][rows].mean()), [40])
    assert few.hi - few.lo > 2 * (one.hi - one.lo)


def test_judges_have_their_form() -> None:
    clips = generate("test", 30)
    x = torch.from_numpy(clips.views["rgb"])
    reader, view = ClipReader(width=8), ViewReader(width=8)
    reader.standardise(x)
    with torch.no_grad():
        features = reader.features(x)
        seen = view(x[:2])
    assert torch.allclose(features.mean(0), torch.zeros(64), atol=1e-4)
    assert float(features.std(0).max()) <= 1.01  # dead features are small, not one
    assert seen["depth"].shape == seen["edges"].shape == (2, 8, 16, 16)
    assert seen["segment"].shape == (2, 8, 16, 16, len(SHAPES) + 1)
    assert 0.5 <= float(seen["depth"].min()) <= float(seen["depth"].max()) <= 4.5

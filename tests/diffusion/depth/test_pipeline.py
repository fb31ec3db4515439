"""The pipeline in one process, and its equality with the parties over messages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aiflow.diffusion.depth import party as parties
from aiflow.diffusion.depth.backbone import BackboneEncoder
from aiflow.diffusion.depth.model import ConvEncoder, FarDecoder, NearDecoder
from aiflow.diffusion.depth.party import (
    Again,
    Depth,
    Encoder,
    Far,
    FarMaps,
    Features,
    Fuse,
    Fusion,
    Near,
    NearMaps,
    Picture,
)
from aiflow.diffusion.depth.pipeline import COMPONENTS, NearFarDepthPipeline
from aiflow.diffusion.depth.scenes import scenes
from aiflow.diffusion.files import fingerprint, load
from aiflow.diffusion.messages import Message, decode, encode
from aiflow.errors import InputError, MessageError, ProtocolError, WeightsError

ROAD = scenes("outdoor", "test", 1).image_BHW3[0]
ODD = np.random.default_rng(0).integers(0, 255, (101, 77, 3), dtype=np.uint8)


def make(seed: int = 0) -> NearFarDepthPipeline:
    torch.manual_seed(seed)
    return NearFarDepthPipeline(ConvEncoder(), NearDecoder(), FarDecoder())


@pytest.fixture(scope="module")
def pipeline() -> NearFarDepthPipeline:
    return make()


@pytest.fixture(scope="module")
def team(pipeline: NearFarDepthPipeline) -> dict[str, Any]:
    said = fingerprint(pipeline.encoder)
    near, far = Near(pipeline.near, encoder=said), Far(pipeline.far, encoder=said)
    return {"encoder": Encoder(pipeline.encoder), "near": near, "far": far, "fusion": Fusion()}


def ask(team: dict[str, Any], image: Any, anchors: list[float], request: str = "r", drop: str = "") -> Depth:
    features = team["encoder"].handle(encode(Picture(request=request, image=image, anchors=anchors)))
    near = None if drop == "near" else team["near"].handle(features)
    far = None if drop == "far" else team["far"].handle(features)
    return decode(team["fusion"].handle(encode(Fuse(request=request, near=near, far=far))), Depth)


@pytest.mark.parametrize("anchor", [10.0, [3.0, 40.0], "pool"])
@pytest.mark.parametrize("image", [ROAD, ODD], ids=["road", "odd"])
def test_parties_equal_the_pipeline(pipeline: Any, team: dict[str, Any], image: Any, anchor: Any) -> None:
    one = pipeline(image, anchor)
    many = ask(team, image, one.anchors)
    assert np.array_equal(np.where(np.isfinite(one.depth), one.depth, 0), many.depth)
    assert np.array_equal(np.isinf(one.depth), many.sky)
    for name in ("near", "far", "mask", "confidence"):
        assert np.array_equal(getattr(one, name), getattr(many, name)), name
    assert one.depth.shape == image.shape[:2]
    assert (many.used, many.model) == (["near", "far"], one.model)


def test_automatic_anchor_over_messages(pipeline: Any, team: dict[str, Any]) -> None:
    one = pipeline(ROAD, "auto")
    first = ask(team, ROAD, [10.0], "auto")
    assert one.anchors == [first.advised]
    again = encode(Again(request="auto", anchors=[first.advised], model=first.model))
    near, far = team["near"].handle(again), team["far"].handle(again)
    second = decode(team["fusion"].handle(encode(Fuse(request="auto", near=near, far=far))), Depth)
    assert np.array_equal(np.where(np.isfinite(one.depth), one.depth, 0), second.depth)


def test_one_branch_missing(pipeline: Any, team: dict[str, Any]) -> None:
    both = ask(team, ROAD, [6.0])
    near, far = ask(team, ROAD, [6.0], drop="far"), ask(team, ROAD, [6.0], drop="near")
    assert (near.used, far.used) == (["near"], ["far"])
    inside = both.mask is not None and both.mask > 0.5
    assert np.array_equal(near.valid, inside)
    assert np.array_equal(near.depth[near.valid], both.depth[near.valid])
    assert near.depth.max() <= 6.0
    assert (far.depth[far.valid] > 6.0).all()
    assert near.far is None
    assert far.near is None
    assert far.mask is None
    alone = NearFarDepthPipeline(pipeline.encoder, near=pipeline.near, far=None)(ROAD, 6.0)
    assert np.array_equal(np.isfinite(alone.depth), near.valid)
    with pytest.raises(MessageError, match="neither"):
        team["fusion"].handle(encode(Fuse(request="r")))
    with pytest.raises(InputError, match="neither"):
        NearFarDepthPipeline(pipeline.encoder)(ROAD, 6.0)


def test_the_same_message_twice_gives_the_same_bytes(team: dict[str, Any]) -> None:
    picture = encode(Picture(request="r", image=ODD, anchors=[5.0]))
    features = team["encoder"].handle(picture)
    assert features == team["encoder"].handle(picture)
    near = team["near"].handle(features)
    assert near == team["near"].handle(features)


def test_half_precision_features_halve_the_bytes(team: dict[str, Any]) -> None:
    sizes = {}
    maps = {}
    for dtype in ("f4", "f2"):
        features = team["encoder"].handle(encode(Picture(request="r", image=ROAD, anchors=[5.0], dtype=dtype)))
        sizes[dtype], maps[dtype] = len(features), decode(team["near"].handle(features), NearMaps).scaled
    assert sizes["f2"] < 0.51 * sizes["f4"]
    assert np.abs(maps["f2"] - maps["f4"]).max() < 0.01


def test_features_of_another_encoder_are_refused(team: dict[str, Any]) -> None:
    torch.manual_seed(9)
    other = Encoder(ConvEncoder()).handle(encode(Picture(request="r", image=ROAD, anchors=[5.0])))
    for role in ("near", "far"):
        with pytest.raises(MessageError, match="encoder"):
            team[role].handle(other)
    with pytest.raises(MessageError, match="encoder"):
        team["encoder"].handle(encode(Picture(request="r", image=ROAD, anchors=[5.0], model="0" * 16)))


def changed(payload: bytes, kind: type[Message], **values: Any) -> bytes:
    return encode(decode(payload, kind).model_copy(update=values))


def test_messages_that_cannot_be_trusted(team: dict[str, Any]) -> None:
    features = team["encoder"].handle(encode(Picture(request="r", image=ROAD, anchors=[5.0])))
    levels = decode(features, Features).levels
    near, far = team["near"].handle(features), team["far"].handle(features)
    wrong = [
        ("near", features[:-3]),
        ("near", features[:60] + bytes([features[60] ^ 1]) + features[61:]),
        ("near", b"nothing"),
        ("near", near),
        ("near", changed(features, Features, levels={**levels, "0": levels["0"][:3]})),
        ("near", changed(features, Features, levels={k: levels[k] for k in "012"})),
        ("far", changed(features, Features, levels={**levels, "1": np.full_like(levels["1"], np.nan)})),
        ("far", changed(features, Features, inner=[4000, 64])),
        ("far", changed(features, Features, anchors=[-1.0])),
        ("far", encode(Again(request="unseen", anchors=[5.0], model=team["far"].encoder))),
        ("encoder", encode(Picture(request="r", image=ROAD.astype(np.float32), anchors=[5.0]))),
        ("fusion", encode(Fuse(request="other", near=near, far=far))),
        ("fusion", encode(Fuse(request="r", near=far, far=near))),
        ("fusion", encode(Fuse(request="r", near=near, far=changed(far, FarMaps, anchors=[6.0])))),
        ("fusion", encode(Fuse(request="r", near=changed(near, NearMaps, model="else"), far=far))),
        ("fusion", encode(Fuse(request="r", near=changed(near, NearMaps, logit=np.zeros((1, 2, 2), "f4"))))),
        ("fusion", encode(Fuse(request="r", far=changed(far, FarMaps, tapered=np.full((1, 48, 64), 7, "f4"))))),
        ("fusion", encode(Fuse(request="r", far=changed(far, FarMaps, tapered=np.ones((2, 48, 64), "f4"))))),
    ]
    for role, payload in wrong:
        with pytest.raises(ProtocolError):
            team[role].handle(payload)
    assert team["near"].handle(features) == near  # the state is as it was


def test_kept_features_are_bounded(team: dict[str, Any], pipeline: Any) -> None:
    near = Near(pipeline.near, encoder=team["near"].encoder, keep=2)
    for name in "abc":
        near.handle(team["encoder"].handle(encode(Picture(request=name, image=ROAD, anchors=[5.0]))))
    near.handle(encode(Again(request="b", anchors=[9.0], model=near.encoder)))
    with pytest.raises(MessageError, match="not kept"):
        near.handle(encode(Again(request="a", anchors=[9.0], model=near.encoder)))


def test_saving_and_loading_parties(tmp_path: Path) -> None:
    made = make(3)
    made.save_pretrained(tmp_path)
    whole = load(tmp_path)
    assert np.array_equal(whole(ROAD, 7.0).depth, made(ROAD, 7.0).depth)
    team = {role: parties.party(tmp_path, role) for role in ("encoder", "near", "far", "fusion")}  # type: ignore[arg-type]
    assert np.array_equal(ask(team, ROAD, [7.0]).mask, made(ROAD, 7.0).mask)
    with pytest.raises(InputError, match="middle"):
        parties.party(tmp_path, "middle")  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="belongs"):
        NearFarDepthPipeline(make(4).encoder, near=whole.near)


def test_the_pipelines_module_imports_what_a_folder_names() -> None:
    """diffusers loads a component only if its module is imported already."""
    assert (ConvEncoder, BackboneEncoder, NearDecoder, FarDecoder) == COMPONENTS


def test_stages_by_themselves(pipeline: Any) -> None:
    seen = NearFarDepthPipeline(pipeline.encoder).encode(ROAD)
    rest = NearFarDepthPipeline(None, near=pipeline.near, far=pipeline.far)
    assert np.array_equal(rest(features=seen, anchor=8.0).depth, pipeline(ROAD, 8.0).depth)
    told: list[tuple[int, int, list[str]]] = []
    pipeline(ROAD, [5.0, 20.0], callback_on_step_end=lambda _, n, a, maps: told.append((n, a, sorted(maps))))
    assert told == [(0, 5, ["logit", "scaled", "tapered"]), (1, 20, ["logit", "scaled", "tapered"])]
    assert torch.is_tensor(pipeline(ROAD, 8.0, output_type="pt").depth)
    assert np.array_equal(pipeline(Image.fromarray(ROAD), 8.0, return_dict=False)[0], pipeline(ROAD, 8.0).depth)
    assert np.array_equal(pipeline(ROAD / 255.0, 8.0).depth, pipeline(ROAD, 8.0).depth)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (np.zeros((48, 64, 4), np.uint8), {}),
        (np.zeros((4, 4, 3), np.uint8), {}),
        (np.zeros((20, 400, 3), np.uint8), {}),
        (np.full((48, 64, 3), np.nan), {}),
        (np.full((48, 64, 3), 200.0), {}),
        (np.zeros((48, 64, 3), np.int32), {}),
        (None, {}),
        (ROAD, {"anchor": 0.0}),
        (ROAD, {"anchor": float("nan")}),
        (ROAD, {"anchor": []}),
        (ROAD, {"anchor": "middle"}),
        (ROAD, {"output_type": "pil"}),
    ],
)
def test_wrong_input(pipeline: Any, image: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        pipeline(image, **options)

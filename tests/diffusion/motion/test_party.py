"""The parties: same result as the pipeline, same bytes for the same message, what they refuse."""

from typing import Any

import numpy as np
import pytest
import torch

from aiflow.diffusion import messages
from aiflow.diffusion.files import fingerprint
from aiflow.diffusion.motion.party import Compose, Composer, Estimate, Motion, Refined, Refiner
from aiflow.errors import InputError, MessageError, ProtocolError, TruncatedError

from .tiny import PROMPT, SEGMENTS, pipeline


def parties(**more: Any) -> tuple[Any, Composer, Refiner]:
    pipe = pipeline(**more)
    shared = (pipe.text_encoder, pipe.tokenizer, pipe.scheduler)
    return pipe, Composer(pipe.ins, *shared), Refiner(pipe.rec, *shared)


def asked(**changes: Any) -> Compose:
    fields = {
        "request": "r1",
        "prompt": PROMPT,
        "kinds": [kind for kind, _ in SEGMENTS],
        "starts": [start for _, start in SEGMENTS],
        "frames": 30,
        "seed": 5,
        "steps": 4,
    }
    return Compose(**{**fields, **changes})


def talk(composer: Composer, refiner: Refiner, request: Compose) -> tuple[Motion, list[bytes]]:
    sent = [messages.encode(request)]
    while True:
        sent.append(composer.handle(sent[-1]))
        if messages.kind(Motion).encode() in sent[-1][:40]:
            return messages.decode(sent[-1], Motion), sent
        sent.append(refiner.handle(sent[-1]))


@pytest.mark.parametrize(("refine", "count"), [("none", 2), ("post", 4), ("loop", 10)])
@pytest.mark.parametrize("mutual", [False, True])
def test_messages_give_what_the_pipeline_gives(refine: str, count: int, mutual: bool) -> None:
    pipe, composer, refiner = parties(mutual=mutual)
    motion, sent = talk(composer, refiner, asked(refine=refine))
    made = pipe(
        PROMPT,
        SEGMENTS,
        30,
        rec_mode=None if refine == "none" else refine,
        num_inference_steps=4,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    )
    assert np.array_equal(motion.u, made.motions[0].numpy())
    assert len(sent) == count, "post: one hand-off; loop: one for each step"
    assert motion.model == fingerprint(pipe.ins, pipe.text_encoder)
    assert motion.refiner == ("" if refine == "none" else fingerprint(pipe.rec))


def test_the_same_message_gives_the_same_bytes() -> None:
    _, composer, refiner = parties()
    _, sent = talk(composer, refiner, asked(refine="loop"))
    replica = parties()[1]
    for i in (4, 0, 2, 4):
        assert composer.handle(sent[i]) == sent[i + 1]
        assert replica.handle(sent[i]) == sent[i + 1], "another composer of the same weights goes on anywhere"
    assert refiner.handle(sent[3]) == sent[4]


def test_what_post_costs() -> None:
    _, composer, refiner = parties()
    _, sent = talk(composer, refiner, asked(refine="post"))
    motion = 2 * 30 * 262 * 4
    assert motion <= len(sent[1]) < motion + 1000
    _, sent = talk(composer, refiner, asked(refine="loop"))
    assert 2 * motion <= len(sent[1]) < 2 * motion + 1000


def changed(payload: bytes, cls: type[Any], **fields: Any) -> bytes:
    message = messages.decode(payload, cls)
    return messages.encode(message.model_copy(update=fields))


def test_what_is_refused_changes_nothing() -> None:
    _, composer, refiner = parties()
    _, sent = talk(composer, refiner, asked(refine="loop"))
    estimate, refined = sent[1], sent[2]
    bad = np.zeros((2, 30, 262), dtype=np.float32)
    nan = bad.copy()
    nan[0, 0, 0] = np.nan
    for payload, error, said in (
        (estimate[:-9], TruncatedError, "arrived"),
        (refined, MessageError, "expected motion.Estimate"),
        (changed(estimate, Estimate, schedule="0" * 16), MessageError, "schedule"),
        (changed(estimate, Estimate, u_hat=bad[:, :-1]), MessageError, "shape"),
        (changed(estimate, Estimate, u_hat=bad.astype(np.float64)), MessageError, "float64"),
        (changed(estimate, Estimate, u_hat=nan), MessageError, "NaN"),
        (changed(estimate, Estimate, noise=5000), MessageError, "noise level"),
        (changed(estimate, Estimate, prompt="person one flies"), MessageError, "flies"),
    ):
        with pytest.raises(ProtocolError, match=said) as caught:
            refiner.handle(payload)
        assert isinstance(caught.value, error)
    for payload, said in (
        (estimate, "expected motion.Compose or motion.Refined"),
        (changed(refined, Refined, model="f" * 16), "model"),
        (changed(refined, Refined, schedule="f" * 16), "schedule"),
        (changed(refined, Refined, step=9), "step 9"),
        (changed(refined, Refined, noisy=bad[:1]), "shape"),
        (refined[:30] + b"x" + refined[31:], "checksum|header|bytes"),
    ):
        with pytest.raises(ProtocolError, match=said):
            composer.handle(payload)
    assert refiner.handle(estimate) == refined


def test_rec_knows_its_composer() -> None:
    _, composer, _ = parties()
    estimate = composer.handle(messages.encode(asked()))
    assert parties(composer=composer.model)[2].handle(estimate)
    with pytest.raises(MessageError, match="model"):
        parties(composer="0123456789abcdef")[2].handle(estimate)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": " "},
        {"prompt": "person one moonwalks"},
        {"frames": 400},
        {"kinds": ["solo"]},
        {"starts": [0, 29]},
        {"steps": 0},
        {"steps": 5000},
        {"guidance": 99.0},
    ],
)
def test_requests_that_cannot_be_done(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        parties()[1].handle(messages.encode(asked(**changes)))


def test_steps_are_told() -> None:
    _, composer, refiner = parties()
    seen: list[tuple[str, int, int]] = []
    composer.on_step = lambda *step: seen.append(step)
    talk(composer, refiner, asked(refine="loop"))
    assert seen == [("r1", n, 4) for n in (1, 2, 3, 4)]

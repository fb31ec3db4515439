"""Tiny models that share a tokenizer, for tests of collaborative decoding; what their processes keep; mortal hosts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from aiflow.agents.agent import Agent
from aiflow.agents.decoding.events import Decoded, Event, Final
from aiflow.agents.host import LocalHost
from aiflow.errors import AgentDiedError

LONG = {"max_tokens": 400}
QUESTION = "zzz"  # the answer of ``big`` has 182 tokens
NAMES = ["<s>", "</s>", "<pad>", *map(chr, range(33, 127)), "\u0120", "\u010a"]  # the last: space, line break


def tokenizer(names: list[str], template: str = "chat") -> PreTrainedTokenizerFast:
    """Letters; ``template`` goes into the chat template."""
    raw = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.chat_template = (
        f"<s>{template}{{% for m in messages %}}{{{{ m['role'] }}}}:{{{{ m['content'] }}}}{{% endfor %}}"
    )
    return made


def llama(vocabulary: int = len(NAMES), seed: int = 0, context: int = 512) -> Any:
    """Random, of two blocks."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=context, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        initializer_range=0.4,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def like(model: Any, noise: float, vocabulary: int = len(NAMES)) -> Any:
    """A model that often says the same; its head may be padded."""
    made = llama(vocabulary, seed=1)
    torch.manual_seed(2)
    with torch.no_grad():
        for own, its in zip(made.parameters(), model.parameters(), strict=True):
            own[: len(its)] = its + noise * its.std() * torch.randn_like(its)
    return made


def save(path: Path, model: Any, tok: PreTrainedTokenizerFast | None = None) -> str:
    """A folder."""
    model.save_pretrained(path)
    (tok or tokenizer(NAMES)).save_pretrained(path)
    return str(path)


def folders(root: Path) -> dict[str, str]:
    """``big`` and those that draft for it: ``mid``, ``small`` (padded head), ``bad``; ``other``: another tokenizer."""
    big = llama()
    return {
        "big": save(root / "big", big),
        "mid": save(root / "mid", like(big, 0.004)),
        "small": save(root / "small", like(big, 0.01, len(NAMES) + 22)),
        "bad": save(root / "bad", llama(seed=7)),
        "other": save(root / "other", llama(seed=7), tokenizer([*NAMES[:3], *reversed(NAMES[3:])], "other")),
        "short": save(root / "short", llama(context=64)),
    }


def kept(agent: Agent) -> list[Any]:
    """What the agent's process holds of sessions: nothing, once they are closed."""
    assert isinstance(agent.host, LocalHost)
    party = agent.host.worker.party
    engine: Any = party._engine
    if engine is None:
        return []
    return [*party.sittings, *party.nodes, *engine._engine.engine._shared._sessions]


async def emptied(*agents: Agent) -> None:
    """Waits until nothing of any session is left."""
    for _ in range(500):
        if not any(map(kept, agents)):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"sessions are left: { ({agent.name: kept(agent) for agent in agents}) }")


async def watched(events: AsyncGenerator[Event], hurt: dict[int, Any]) -> Decoded:
    """The answer; does what is to be done when so many final pieces have come."""
    pieces: list[str] = []
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Final):
                pieces.append(event.text)
                hurt.pop(len(pieces), lambda: None)()
    assert isinstance(event, Decoded)
    assert event.text == "".join(pieces)
    assert not hurt
    return event


class Mortal(LocalHost):
    """A process that can be killed, and comes back when ``revive`` says so."""

    def __init__(self, host: LocalHost) -> None:
        super().__init__(host.worker)
        self._died, self._alive = asyncio.Event(), asyncio.Event()
        self._alive.set()
        self.heard = 1 << 30
        """Bundles that still arrive; then it is silent."""

    def kill(self) -> None:
        """All sessions are lost."""
        self._alive.clear()
        self._died.set()
        for key in list(self.worker.party.sittings):
            self.worker.party.drop(key)

    def revive(self) -> None:
        """A new process."""
        self._died.clear()
        self._alive.set()

    async def ready(self) -> None:
        """Waits for it."""
        await self._alive.wait()

    async def session(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Ends with AgentDiedError when it is killed."""
        async with aclosing(super().session(payload)) as bundles:
            while True:
                step, death = asyncio.ensure_future(anext(bundles)), asyncio.ensure_future(self._died.wait())
                try:
                    await asyncio.wait({step, death}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    death.cancel()
                    if not step.done():
                        step.cancel()
                        await asyncio.gather(step, return_exceptions=True)
                if step.cancelled():
                    raise AgentDiedError("killed by a test")
                self.heard -= 1
                if self.heard >= 0:
                    yield step.result()

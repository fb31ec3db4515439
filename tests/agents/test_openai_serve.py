"""The openai back end against a server that nobody here wrote: ``transformers serve`` with a tiny random model.

The same weights run in the ``transformers`` back end beside it, so greedy answers must agree word for word.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiflow.agents.backends import create
from aiflow.errors import BackendError, UnknownModelError
from aiflow.types import Answer, Message, Options

TALK = [Message("user", "the cat and the dog")]
START_SECONDS = 90


@pytest.fixture(scope="module")
def url(tiny: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", tiny, "--host", "127.0.0.1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = Path(tiny) / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"], env=environment, stdout=output, stderr=output
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"transformers serve did not start: {log.read_text()[-2000:]}")


async def ask(model: str, options: Options) -> tuple[str, Answer]:
    backend = create(model)
    try:
        items = [item async for item in backend.stream(TALK, options)]
    finally:
        await backend.close()
    assert isinstance(items[-1], Answer)
    return "".join(item.text for item in items[:-1]), items[-1]


@pytest.mark.parametrize("tokens", [1, 24])
async def test_it_answers_as_the_same_weights_do_here(url: str, tiny: str, tokens: int) -> None:
    options = Options(max_tokens=tokens, top_logprobs=tokens % 2)  # it has none, and passes over the wish
    streamed, there = await ask(f"{url}#{tiny}", options)
    _, here = await ask(tiny, options)
    assert (streamed, there.text) == (here.text, here.text)
    assert there.logprobs == ()
    assert there.finish == here.finish == "length"
    assert there.usage.completion_tokens == here.usage.completion_tokens == tokens
    assert there.usage.prompt_tokens == here.usage.prompt_tokens > 20


async def test_it_stops_before_the_stop_string(url: str, tiny: str) -> None:
    _, free = await ask(f"{url}#{tiny}", Options(max_tokens=24))
    stop = free.text[8:11]
    streamed, answer = await ask(f"{url}#{tiny}", Options(max_tokens=24, stop=(stop,)))
    assert streamed == answer.text == free.text[: free.text.index(stop)]
    assert answer.finish == "stop"


async def test_a_seed_repeats_a_sample(url: str, tiny: str) -> None:
    texts = [(await ask(f"{url}#{tiny}", Options(max_tokens=12, temperature=1.0, seed=s)))[1].text for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


async def test_another_model_is_refused(url: str) -> None:
    with pytest.raises((UnknownModelError, BackendError), match="nope") as caught:
        await ask(f"{url}#nope", Options())
    assert "\n" not in str(caught.value)


async def test_leaving_early_ends_the_generation(url: str, tiny: str) -> None:
    backend = create(f"{url}#{tiny}")
    stream = backend.stream(TALK, Options(max_tokens=400))
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    started = time.monotonic()
    await ask(f"{url}#{tiny}", Options(max_tokens=1))
    assert time.monotonic() - started < 10
    await backend.close()

"""``aiflow bench gateway-security``: thousands of hostile requests; no 5xx, no secret out, no memory kept.

The gateway asks for a key. What must not come out are the key, its hash and a word that stands in every prompt: the
agent never says it, so it may be in no answer, no header and no log.
"""

import asyncio
import json as jsonlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiflow.bench.gateway.client import Line, Reply
from aiflow.bench.gateway.hostile import PLAIN, SECRET, requests
from aiflow.bench.gateway.processes import ZERO, Server, gateway

BODY = 100_000
RECEIVE = 1.0
IN_FLIGHT = 16
_WARM = 1000


class Tally:
    """Counts replies, and looks into each for what must not be in it."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self.statuses: Counter[str] = Counter()
        self.by_kind: dict[str, Counter[str]] = {}
        self.leaks: Counter[str] = Counter()
        self.malformed = 0
        self._secrets = [secret.lower() for secret in secrets]

    def add(self, kind: str, reply: Reply | None) -> None:
        """``None``: no end of a reply within the time."""
        status = "hung" if reply is None else str(reply.status or "closed")
        self.statuses[status] += 1
        self.by_kind.setdefault(kind, Counter())[status] += 1
        if reply is None:
            return
        text = reply.head + reply.body.decode("utf-8", "replace").lower()
        self.leaks[kind] += any(secret in text for secret in self._secrets)
        self.malformed += reply.status >= 400 and not _is_error(reply)

    def look(self, where: str, text: str) -> None:
        """Looks into something else, such as a log."""
        self.leaks[where] += any(secret in text.lower() for secret in self._secrets)


def main(*, count: int = 10_000, slow: int = 40, seed: int = 0, json: bool = False) -> None:
    """Sends ``count`` requests and ``slow`` slow ones; prints statuses by kind, 5xx, leaks, memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = _make_key(folder)
        config = {**ZERO, "keys": "keys.json", "limits": {"body": BODY, "receive": RECEIVE}}
        with gateway(folder, config) as server:
            result = asyncio.run(_attack(server, key, count, slow, seed))
    _show(result)
    if json:
        print(jsonlib.dumps(result), flush=True)


def _make_key(folder: Path) -> str:
    command = [sys.executable, "-c", "from aiflow.cli import main; main()", "serve", "key", "new", "bench"]
    made = subprocess.run([*command, "--file", str(folder / "keys.json")], capture_output=True, text=True, check=True)
    return made.stdout.strip()


async def _attack(server: Server, key: str, count: int, slow: int, seed: int) -> dict[str, Any]:
    tally = Tally([key, key.split("-", 2)[2], sha256(key.encode()).hexdigest(), SECRET])
    todo = requests(count, key, seed)
    memory: list[int] = []
    done = 0

    async def client() -> None:
        nonlocal done
        for kind, raw in todo:
            line = Line.to(server.url)  # what is left over of a broken request must not meet the next one
            tally.add(kind, await _send(line, raw))
            line.close()
            done += 1
            if done == min(_WARM, count) or done == count:
                memory.append(server.memory)

    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    await asyncio.gather(*(_dawdle(server, key, n, tally) for n in range(slow)))
    await asyncio.sleep(RECEIVE)
    memory.append(server.memory)
    tally.look("log", server.log.read_text())
    alive = await Line.to(server.url).send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    return {
        "requests": count + slow,
        "seed": seed,
        "statuses": dict(sorted(tally.statuses.items())),
        "by_kind": {kind: dict(sorted(found.items())) for kind, found in sorted(tally.by_kind.items())},
        "server_errors": sum(number for status, number in tally.statuses.items() if status.startswith("5")),
        "hung": tally.statuses["hung"],
        "malformed_errors": tally.malformed,
        "leaks": sum(tally.leaks.values()),
        "rss": memory,
        "growth": memory[-1] / memory[0] - 1,
        "alive": alive.status == 200,
    }


async def _send(line: Line, raw: bytes) -> Reply | None:
    try:
        return await line.send(raw, seconds=20.0)
    except (TimeoutError, ValueError):
        return None
    except OSError:
        return Reply(status=0, head="", body=b"")


async def _dawdle(server: Server, key: str, number: int, tally: Tally) -> None:
    """Half the headers, half a body, or a body byte by byte; it must be over soon after ``RECEIVE`` seconds."""
    head = (
        f"POST {PLAIN} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\n"
    )
    start = [head, head + "content-length: 900\r\n\r\n{", head + "content-length: 900\r\n\r\n"][number % 3].encode()
    line = Line.to(server.url)
    sending = asyncio.ensure_future(_send(line, start))
    try:
        if number % 3 == 2:
            await line.drip(b" ", every=0.1, until=sending)
        tally.add("slow", await sending)
    finally:
        sending.cancel()
        line.close()


def _is_error(reply: Reply) -> bool:
    try:
        error = jsonlib.loads(reply.body)["error"]
    except (ValueError, KeyError, TypeError):
        return "head" in reply.head  # an answer to HEAD has no body
    return isinstance(error, dict) and set(error) == {"message", "type", "param", "code"}


def _show(result: dict[str, Any]) -> None:
    for kind, found in result["by_kind"].items():
        print(f"{kind:<16} " + "  ".join(f"{status}: {number}" for status, number in found.items()))
    print("all              " + "  ".join(f"{status}: {number}" for status, number in result["statuses"].items()))
    sizes = ", ".join(f"{size / 1e6:.0f}" for size in result["rss"])
    print(
        f"{result['requests']} requests: {result['server_errors']} x 5xx (bar 0), {result['leaks']} leaks (bar 0), "
        f"{result['hung']} hung, {result['malformed_errors']} errors not in OpenAI's form; memory {sizes} MB "
        f"({result['growth'] * 100:+.1f} %); {'still answers' if result['alive'] else 'DOES NOT ANSWER'}"
    )

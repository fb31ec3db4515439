"""What each caller may use, and keys that say who calls."""

import json
import stat
import threading

import httpx
import openai
import pytest

from aiflow.errors import InputError, UsageError
from aiflow.serve.config import Allowance
from aiflow.serve.keys import KeyFile, Ring
from aiflow.serve.limits import Bucket, Desk
from aiflow.serve.refusal import Refusal

TALK = [{"role": "user", "content": "one two three four five six"}]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_holds_a_minute_and_fills_in_one():
    clock = Clock()
    bucket = Bucket(60, clock)
    assert [bucket.take(1) for _ in range(60)] == [0.0] * 60
    assert bucket.take(3) == pytest.approx(3.0)
    clock.now = 3.0
    assert bucket.take(3) == 0.0
    bucket.give(-30)
    assert bucket.take(1) == pytest.approx(31.0)
    clock.now = 1000.0
    assert bucket.take(1000) == 0.0  # more than it ever holds: given when full, paid back by time
    assert bucket.take(1) > 900


def test_tokens_are_set_aside_and_then_charged():
    clock = Clock()
    desk, allowance = Desk(10, clock), Allowance(tokens_per_minute=100)
    first = desk.admit("a", allowance)
    first.reserve(80)
    with pytest.raises(Refusal) as caught:
        desk.admit("a", allowance).reserve(80)
    assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "36")
    first.settle(10)
    first.close()
    desk.admit("a", allowance).reserve(80)
    desk.admit("b", allowance).reserve(80)  # others have their own


def test_requests_at_a_time():
    desk, allowance = Desk(3), Allowance(concurrency=2)
    slots = [desk.admit("a", allowance) for _ in range(2)]
    with pytest.raises(Refusal, match="at a time"):
        desk.admit("a", allowance)
    desk.admit("b", allowance)
    with pytest.raises(Refusal, match="over all callers"):
        desk.admit("b", allowance)
    slots[0].close()
    slots[0].close()
    desk.admit("a", allowance)
    assert desk.running == 3


def test_a_key_file_holds_hashes_only(tmp_path):
    file = KeyFile(tmp_path / "new" / "keys.json")
    key = file.add("alice", requests_per_minute=3)
    text = file.path.read_text()
    assert key not in text
    assert key.split("-", 2)[2] not in text
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    ring = Ring(file)
    assert (ring.find(key).name, ring.find(key).requests_per_minute) == ("alice", 3)
    for wrong in ("", "aiflow", "aiflow--", key[:-1], key + "x", key.swapcase(), "aiflow-00000000-x", "é" * 40):
        assert ring.find(wrong) is None
    with pytest.raises(InputError, match="already a key 'alice'"):
        file.add("alice")
    file.path.write_text("{")
    with pytest.raises(UsageError, match=r"cannot be read \(JSONDecodeError\)"):
        Ring(file)


def test_revoking_a_key_ends_its_use(tmp_path, monkeypatch):
    monkeypatch.setattr("aiflow.serve.keys._STALE_SECONDS", 0.0)
    file = KeyFile(tmp_path / "keys.json")
    alice, bob = file.add("alice"), file.add("bob")
    ring = Ring(file)
    file.remove("alice")
    assert ring.find(alice) is None
    assert ring.find(bob).name == "bob"
    with pytest.raises(InputError, match="no key 'alice'"):
        file.remove("alice")


def test_keys_over_http(serve, tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    key = file.add("alice", requests_per_minute=2)
    free = file.add("bob")
    with serve(keys="keys.json", allowance={"tokens_per_minute": 30}) as served:
        for wrong in (None, "", "Bearer", "Bearer x", f"Basic {key}", f"Bearer {key}x", "Bearer \xff"):
            headers = {"authorization": wrong.encode("latin-1")} if wrong is not None else {}
            for path in ("/v1/models", "/v1/models/echo", "/metrics"):
                answer = httpx.get(served.root + path, headers=headers)
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert httpx.post(f"{served.url}/chat/completions", content=b"{").status_code == 401
        assert httpx.get(f"{served.root}/health").status_code == 200
        assert httpx.get(f"{served.root}/metrics", headers={"authorization": f"bearer {key}"}).status_code == 200
        with openai.OpenAI(base_url=served.url, api_key=key, max_retries=0) as client:
            for _ in range(2):
                client.chat.completions.create(model="echo", messages=TALK, max_tokens=1)
            with pytest.raises(openai.RateLimitError) as caught:
                client.chat.completions.create(model="echo", messages=TALK, max_tokens=1)
            assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30
        with openai.OpenAI(base_url=served.url, api_key=free, max_retries=0) as client:
            client.chat.completions.create(model="echo", messages=TALK, max_tokens=20)  # 12 used of 30
            client.chat.completions.create(model="echo", messages=TALK, max_tokens=1)  # 7 more
            with pytest.raises(openai.RateLimitError, match="tokens a minute"):
                client.chat.completions.create(model="echo", messages=TALK, max_tokens=20)
        assert key not in httpx.get(f"{served.root}/metrics", headers={"authorization": f"Bearer {free}"}).text
        assert key.split("-", 2)[2] not in json.dumps(file.path.read_text())


def test_concurrency_over_http(serve):
    with (
        serve(allowance={"concurrency": 1}) as served,
        openai.OpenAI(base_url=served.url, api_key="x", max_retries=0) as client,
    ):
        stream = iter(client.chat.completions.create(model="slow", messages=TALK, stream=True))
        next(stream)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="echo", messages=TALK)
        assert len(list(stream)) >= 6
        for _ in range(100):  # the slot is free when the last byte is out
            if served.totals("slow").in_flight == 0:
                break
            threading.Event().wait(0.02)
        client.with_options(max_retries=5).chat.completions.create(model="echo", messages=TALK)

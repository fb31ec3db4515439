"""``python -m aiflow.bench.gateway.bare``: FastAPI on uvicorn and nothing else, to measure the gateway beside.

Each route reads the same JSON as the gateway and returns an answer of the same form and length. ``/model`` does it as
FastAPI's users do (a pydantic body, a dict back), ``/raw`` as fast as FastAPI lets one (the request, a ready response).
"""

import json
import socket
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

IDENTITY = "0" * 24


class Turn(BaseModel):
    """A message."""

    role: Literal["system", "user", "assistant"]
    content: str


class Ask(BaseModel):
    """A request, as far as the measurement sends it."""

    model: str
    messages: list[Turn]
    max_tokens: int | None = None
    temperature: float | None = None
    stream: bool = False


app = FastAPI()


def answer(model: str) -> dict[str, Any]:
    """What the gateway says for an agent that answers ``ok``."""
    costs = {"requests": 1, "prompt_tokens": 9, "completion_tokens": 1, "seconds": 0.000123}
    return {
        "id": f"chatcmpl-{IDENTITY}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ok", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
        "aiflow": {"agents": {model: costs}, "bytes": {}, "marks": []},
    }


@app.post("/model")
async def model(body: Ask) -> dict[str, Any]:
    """As most applications are written."""
    return answer(body.model)


@app.post("/raw")
async def raw(request: Request) -> Response:
    """Without validation, and without FastAPI's own encoding."""
    body = json.loads(await request.body())
    return JSONResponse(answer(body["model"]))


def main() -> None:
    """Prints its URL and serves."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, so without Nagle's delay
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()

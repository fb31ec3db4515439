"""A back end behind a URL: any server with OpenAI's chat completions (vLLM, llama.cpp, Ollama, transformers serve...).

It is a client; weights and batching are the server's. The key comes from the environment and stands in nothing that is
printed, logged or sent to anyone else.
"""

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from aiflow.agents.backends.openai_access import find_key, translate
from aiflow.agents.backends.openai_logprobs import Place, gathered, places
from aiflow.agents.backends.stops import Stops
from aiflow.errors import BackendError, CredentialError, InputError, UnknownModelError
from aiflow.types import Answer, Delta, Finish, Message, Options, Usage


class OpenAIBackend:
    """Asks ``https://host/v1#model``.

    ``key_env``: the environment variable with the key (default OPENAI_API_KEY; servers on this machine or network need
    none). ``timeout``: seconds without a sign from the server. ``retries``: repetitions of a request that found no
    server or a busy one. ``tokens_field``: how ``max_tokens`` is called in requests, by default
    ``max_completion_tokens`` at api.openai.com, whose newer models refuse the older ``max_tokens`` that every other
    server knows. ``extra``: more fields, such as ``{"chat_template_kwargs": {"enable_thinking": False}}``.
    A server that does not count tokens is taken to have sent one with each piece, and read none. One that passes over
    ``top_logprobs`` leaves ``Answer.logprobs`` empty (`openai_logprobs` says which of its entries count).
    Raises UnknownModelError, CredentialError, InputError.
    """

    def __init__(
        self,
        model: str,
        *,
        key_env: str | None = None,
        timeout: float = 60.0,
        retries: int = 2,
        tokens_field: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._url, self._model = _parse(model)
        host = urlsplit(self._url).hostname or ""
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise InputError(f"timeout={timeout!r} is not usable; give seconds > 0.")
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise InputError(f"retries={retries!r} is not usable; give an int >= 0.")
        self._key_env, self._key = find_key(key_env, host)
        self._timeout, self._retries = timeout, retries
        self._tokens = tokens_field or ("max_completion_tokens" if host == "api.openai.com" else "max_tokens")
        self._extra = dict(extra or {})
        self._counts_usage = True
        self._clients: MutableMapping[AbstractEventLoop, Any] = WeakKeyDictionary()  # connections belong to a loop

    def __repr__(self) -> str:
        return f"OpenAIBackend({self._url}#{self._model})"

    async def stream(self, messages: Sequence[Message], options: Options) -> AsyncIterator[Delta | Answer]:
        """Yields the text as the server streams it; leaving early closes the connection, which ends the generation.

        Raises BackendUnavailableError, CredentialError, UnknownModelError, BackendError, each in one line.
        """
        import openai

        stops, said, pieces, likeliest = Stops(options.stop), list[str](), 0, list[Place]()
        finish: Finish | None = None
        usage: Usage | None = None
        try:
            async with await self._open(messages, options) as chunks:
                async for chunk in chunks:
                    content, ended, counted = _read(chunk)
                    finish, usage, pieces = ended or finish, counted or usage, pieces + bool(content)
                    if options.top_logprobs:
                        likeliest += places(chunk, options.top_logprobs)
                    if text := stops.feed(content):
                        said.append(text)
                        yield Delta(text=text)
                    if stops.stopped:
                        finish = "stop"
                        break
        except (openai.OpenAIError, ValueError) as error:
            raise translate(error, self._url, self._model, self._key_env, self._key, self._timeout) from None
        if finish is None:
            raise BackendError(f"{self._url} ended its reply before the answer was complete; see the server's log.")
        if rest := stops.rest():
            said.append(rest)
            yield Delta(text=rest)
        usage = usage or Usage(requests=1, completion_tokens=pieces)
        yield Answer(text="".join(said), finish=finish, usage=usage, logprobs=gathered(likeliest))

    async def close(self) -> None:
        """Closes its connections."""
        if client := self._clients.pop(get_running_loop(), None):
            await client.close()

    async def _open(self, messages: Sequence[Message], options: Options) -> Any:
        import openai

        loop = get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = openai.AsyncOpenAI(
                base_url=self._url, api_key=self._key, timeout=self._timeout, max_retries=self._retries
            )
        request = self._request(messages, options)
        create = self._clients[loop].chat.completions.create
        if self._counts_usage:
            try:
                return await create(**request, stream_options={"include_usage": True})
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if "stream_options" not in f"{error} {error.body}":
                    raise
                self._counts_usage = False  # an older server
        return await create(**request)

    def _request(self, messages: Sequence[Message], options: Options) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [message.openai() for message in messages],
            "stream": True,
            "temperature": options.temperature,
            self._tokens: options.max_tokens,
        }
        if options.top_p < 1:
            request["top_p"] = options.top_p
        if options.seed is not None:
            request["seed"] = options.seed
        if options.stop:
            request["stop"] = list(options.stop)
        if options.top_logprobs:
            request |= {"logprobs": True, "top_logprobs": options.top_logprobs}
        if self._extra:
            request["extra_body"] = self._extra
        return request


def _parse(model: str) -> tuple[str, str]:
    url, _, name = model.partition("#")
    url = url.rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UnknownModelError(f"{url!r} is no URL ({error}); write it like https://host/v1#model.") from None
    if parts.username or parts.password or parts.query:
        raise CredentialError("a model's URL must hold no key or query; set OPENAI_API_KEY, or key_env='NAME'.")
    if not host:
        raise UnknownModelError(f"{url!r} names no host; write it like https://host/v1#model.")
    if not name:
        raise UnknownModelError(f"{url!r} names no model; append one of {url}/models, like {url}#model.")
    return url, name


def _read(chunk: Any) -> tuple[str, Finish | None, Usage | None]:
    """A chunk's text, its finish reason and its usage. The library does not check what a server sends; ValueError."""
    try:
        finish: Finish | None = None
        content, counted = "", chunk.usage
        for choice in chunk.choices[:1]:
            content = "".join([choice.delta.content or ""])
            finish = choice.finish_reason and ("length" if choice.finish_reason == "length" else "stop")
        if not counted:
            return content, finish, None
        prompt, completion = int(counted.prompt_tokens or 0), int(counted.completion_tokens or 0)
        return content, finish, Usage(requests=1, prompt_tokens=prompt, completion_tokens=completion)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"malformed chunk: {error}") from error

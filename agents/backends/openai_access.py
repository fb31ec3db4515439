"""Keys and errors of OpenAI-compatible servers: the key out of the environment, each failure as one line without it."""

import os
from ipaddress import ip_address
from typing import Any

from aiflow.errors import AiflowError, BackendError, BackendUnavailableError, CredentialError, UnknownModelError

KEY_ENV = "OPENAI_API_KEY"
_NO_KEY = "none"
_HOME = (".localhost", ".local", ".lan", ".internal")
_LONGEST = 300  # characters of a server's own words


def find_key(key_env: str | None, host: str) -> tuple[str, str]:
    """(variable, key); a dummy key for a near host if no ``key_env`` is asked for. Raises CredentialError."""
    name = key_env or KEY_ENV
    key = os.environ.get(name, "").strip()
    if not key and key_env is None and is_near(host):
        return name, _NO_KEY
    if not key:
        raise CredentialError(
            f"{host} needs a key: set the environment variable {name} before connecting, or name another by key_env=."
        )
    if not (key.isascii() and key.isprintable()):
        raise CredentialError(f"the environment variable {name} holds no usable key; set it to the key alone.")
    return name, key


def is_near(host: str) -> bool:
    """Whether ``host`` is this machine or on its private network."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_HOME)


def translate(error: Exception, url: str, model: str, key_env: str, key: str, timeout: float) -> AiflowError:
    """What an error of the openai library means, in one line that says what to do and never shows the key."""
    import openai

    match error:
        case openai.APITimeoutError():
            return BackendUnavailableError(
                f"{url} gave no sign for {timeout:g} s; raise timeout= or relieve the server."
            )
        case openai.APIConnectionError():
            reason = _clean(str(error.__cause__ or error), key)
            return BackendUnavailableError(f"no connection to {url} ({reason}); start the server or correct the URL.")
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            refused = "wants a key" if key == _NO_KEY else f"refused the key in {key_env}"
            return CredentialError(f"{url} {refused}; set {key_env} to a key that may use {model!r}.")
        case openai.NotFoundError():
            return UnknownModelError(f"{url} has no model {model!r}; see {url}/models, and that the URL ends in /v1.")
        case openai.RateLimitError():
            return BackendError(f"{url} refuses more requests for now (429): {_words(error, key)}")
        case openai.APIStatusError(status_code=code) if code >= 500:
            return BackendUnavailableError(f"{url} failed ({code}): {_words(error, key)}; see the server's log.")
        case openai.APIStatusError(status_code=code):
            return BackendError(f"{url} refused the request ({code}): {_words(error, key)}")
        case openai.OpenAIError():
            return BackendError(f"{url} failed while it answered: {_words(error, key)}")
    return BackendError(f"{url} sent what is no OpenAI reply: {_clean(str(error), key)}")


def _words(error: Any, key: str) -> str:
    body = getattr(error, "body", None)
    said = (body.get("message") or body.get("detail") or body) if isinstance(body, dict) else None
    return _clean(str(said or error), key)


def _clean(text: str, key: str) -> str:
    line = " ".join(text.split()).replace(key, "***") if key != _NO_KEY else " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."

"""Frames of a running gateway: its ``/status``. Knows HTTP only."""

import json
import time
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError

from aiflow.errors import ClusterError, CredentialError, InputError
from aiflow.top.frame import AgentRow, Frame, LinkRow, NodeRow

LIMIT = 3.0
"""Seconds for an answer."""
_MOST = 16 * 2**20  # bytes of one


class Gateway:
    """Asks the gateway at ``url`` (with or without ``/v1``), with ``key`` where it needs one. Raises InputError."""

    def __init__(self, url: str, key: str | None = None) -> None:
        root = (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1")
        if not root.startswith(("http://", "https://")):
            raise InputError(f"{url!r} is no address of a gateway; write http://HOST:PORT.")
        self.name = root
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def frame(self) -> Frame:
        """How it is now. Raises ClusterError, and CredentialError for a key that is not valid."""
        request = urllib.request.Request(f"{self.name}/status", headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as reply:
                found: Any = json.loads(reply.read(_MOST))
            return _frame(self.name, found)
        except HTTPError as error:
            if error.code == 401:
                message = f"{self.name} wants an API key; set AIFLOW_API_KEY, or pass --key."
                raise CredentialError(message) from None
            raise ClusterError(f"{self.name} answers {error.code}; is it a gateway of aiflow?") from None
        except (URLError, OSError, HTTPException) as error:
            why = getattr(error, "reason", None) or error
            raise ClusterError(f"no gateway answers at {self.name} ({why}); start one: aiflow serve CONFIG.") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ClusterError(f"{self.name}/status is not what a gateway says; is it one of aiflow?") from error

    def close(self) -> None:
        """Nothing is kept."""


def _frame(name: str, found: Any) -> Frame:
    return Frame(
        source=name,
        moment=time.monotonic(),
        nodes={
            n: NodeRow(tier=row["tier"], state="up" if row["alive"] else "gone") for n, row in found["nodes"].items()
        },
        links={n: LinkRow(state="up", **row) for n, row in found["links"].items()},
        agents={
            n: AgentRow(
                node=row["node"],
                state=row["state"],
                model=row["model"],
                in_flight=row["in_flight"],
                answered=row["answered"],
                errors=sum(row["errors"].values()),
                tokens=row["completion_tokens"],
            )
            for n, row in found["agents"].items()
        },
    )

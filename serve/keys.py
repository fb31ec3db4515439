"""API keys: made once, shown once, kept as hashes in a file that only its owner may read. Knows no HTTP.

A key is ``aiflow-<id>-<secret>`` with 256 random bits, so that a plain SHA-256 of it cannot be searched for.
"""

import json
import logging
import os
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any

from aiflow.errors import InputError, UsageError

log = logging.getLogger(__name__)
PREFIX = "aiflow"
_STALE_SECONDS = 1.0
_NOBODY = sha256(b"").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Key:
    """What is kept of a key. Limits that are None are those of the configuration."""

    id: str
    name: str
    sha256: str
    created: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class KeyFile:
    """The keys in a file of JSON. Raises UsageError for a file that cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Key]:
        """Every key by its id; none if there is no file yet."""
        if not self.path.exists():
            return {}
        try:
            rows: Any = json.loads(self.path.read_text(encoding="utf-8"))
            return {row["id"]: Key(**row) for row in rows["keys"]}
        except (OSError, ValueError, TypeError, KeyError) as error:
            kind = type(error).__name__
            raise UsageError(f"the key file {self.path} cannot be read ({kind}); restore it, or make anew.") from error

    def add(self, name: str, **limits: int | None) -> str:
        """Makes a key and keeps its hash; the returned key itself is nowhere else. Raises InputError."""
        keys = self.read()
        if not name.strip() or not name.isprintable() or len(name) > 64:
            raise InputError(f"{name[:70]!r} cannot name a key; give a word such as 'alice'.")
        if any(key.name == name for key in keys.values()):
            raise InputError(f"there is already a key {name!r}; revoke it, or choose another name.")
        if bad := {what: number for what, number in limits.items() if number is not None and number < 1}:
            raise InputError(f"limits must be 1 or more, got {bad}.")
        identity, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        whole = f"{PREFIX}-{identity}-{secret}"
        made = Key(id=identity, name=name, sha256=digest(whole), created=int(time.time()), **limits)
        self._write({**keys, identity: made})
        return whole

    def remove(self, name: str) -> None:
        """Revokes a key; running gateways notice within a second. Raises InputError."""
        keys = self.read()
        kept = {identity: key for identity, key in keys.items() if key.name != name}
        if len(kept) == len(keys):
            raise InputError(f"there is no key {name!r}; 'aiflow serve key list' shows them.")
        self._write(kept)

    def _write(self, keys: dict[str, Key]) -> None:
        rows = [{name: value for name, value in asdict(key).items() if value is not None} for key in keys.values()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # made with mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"keys": rows}, file, indent=1)
        os.replace(new, self.path)


class Ring:
    """The keys that are valid now: the file is read again when it has changed."""

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._keys = file.read()
        self._seen, self._looked = self._stamp(), time.monotonic()

    def find(self, given: str) -> Key | None:
        """The key that ``given`` is; None if it is no valid one. Takes the same time for every wrong secret."""
        self._refresh()
        parts = given.split("-", 2)
        key = self._keys.get(parts[1]) if len(parts) == 3 else None
        same = compare_digest(digest(given), key.sha256 if key else _NOBODY)
        return key if same else None

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < _STALE_SECONDS:
            return
        self._looked = now
        if (stamp := self._stamp()) == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = self._file.read()
        except UsageError as error:  # a file that is half written by hand: those that were valid stay so
            log.error("%s", error)

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._file.path.stat()
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino)


def digest(key: str) -> str:
    """The hash that is kept."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()

"""Where benchmark files lie and how they are read: plain or ``.gz``, JSON or JSON lines; fetched where they may be.

Errors name the file, the line and what to do. Nothing is known here of any suite.
"""

import gzip
import json
import os
import shutil
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from aiflow.errors import DataError

T = TypeVar("T")
SECONDS = 120.0
SHOWN = 80
_CACHE = Path("~/.cache/aiflow/data")


def locate(suite: str, given: Path | None, marker: str, urls: Mapping[str, str] | None = None) -> Path:
    """The folder that holds ``marker`` (or ``marker.gz``): ``given``, its ``suite`` folder, or one of the defaults.

    Defaults, if nothing is given: ``$AIFLOW_DATA/<suite>``, ``../shared/data/<suite>`` beside the checkout, and the
    cache, into which ``urls`` (file -> official address) are fetched, unless ``$AIFLOW_OFFLINE`` is set.
    Raises DataError that names the file, where it was looked for, and where to get it.
    """
    told = "; ".join(f"{file} from {url}" for file, url in (urls or {}).items()) or f"{marker} of {suite}"
    if given is not None:
        folders = [given, given / suite]
    else:
        folders = [*([Path(os.environ["AIFLOW_DATA"]) / suite] if os.environ.get("AIFLOW_DATA") else [])]
        folders += [Path(__file__).resolve().parents[3] / "shared" / "data" / suite, cache_folder() / suite]
    for folder in folders:
        if find(folder / marker):
            return folder
    if given is not None and (found := find(given)):
        raise DataError(f"{found} is a file; give the folder that holds {marker} with --data.")
    if given is not None:
        raise DataError(f"{given / marker} is missing; give the folder that holds it with --data, or get {told}.")
    if not urls or os.environ.get("AIFLOW_OFFLINE"):
        raise DataError(f"{suite}: no {marker} in {', '.join(map(str, folders))}; give --data, or get {told}.")
    for file, url in urls.items():
        fetch(url, folders[-1] / file)
    return folders[-1]


def cache_folder() -> Path:
    """``$AIFLOW_CACHE/data``, else ``~/.cache/aiflow/data``."""
    own = os.environ.get("AIFLOW_CACHE")
    return Path(own) / "data" if own else _CACHE.expanduser()


def find(path: Path) -> Path | None:
    """The file itself, or its ``.gz``."""
    return next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)


def fetch(url: str, to: Path) -> Path:
    """Downloads a file, whole or not at all. Raises DataError that says how to get it by hand."""
    to.parent.mkdir(parents=True, exist_ok=True)
    spare = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer, spare.open("wb") as file:
            shutil.copyfileobj(answer, file)
        os.replace(spare, to)
    except (OSError, urllib.error.URLError) as error:
        spare.unlink(missing_ok=True)
        raise DataError(f"{url} cannot be fetched ({error}); download it, and give its folder with --data.") from error
    return to


def read(path: Path, remedy: str = "") -> bytes:
    """The bytes of a file or of its ``.gz``. Raises DataError, also for a file without any."""
    found, remedy = find(path), remedy.rstrip(".")
    if found is None:
        raise DataError(f"{path} is missing; {remedy or 'give the right path'}.")
    try:
        data = found.read_bytes()
        data = gzip.decompress(data) if found.name.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{found} cannot be read ({error}); {remedy or 'get it anew'}.") from error
    if not data:
        raise DataError(f"{found} is empty; {remedy or 'get it anew'}.")
    return data


def text(path: Path, remedy: str = "") -> str:
    """The text of a file or of its ``.gz``, without a byte order mark. Raises DataError where it is no UTF-8."""
    try:
        return read(path, remedy).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 ({error}); save it anew.") from error


def load(path: Path, remedy: str = "") -> Any:
    """The JSON value in a file. Raises DataError with the place of the fault, also for a name that comes twice."""
    return _json(read(path, remedy), str(path))


def rows(path: Path, remedy: str = "") -> Iterator[tuple[int, Any]]:
    """(line number, value) of every line that is not blank. Raises DataError that names the line."""
    for number, line in enumerate(read(path, remedy).splitlines(), 1):
        if line.strip():
            yield number, _json(line, f"{path}:{number}")


def _json(data: bytes, where: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            unique((name for name, _ in pairs), where)
        return found

    try:
        return json.loads(data, object_pairs_hook=once)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON ({error}); get it anew.") from error


def checked(read_as: Callable[[Any], T], value: Any, where: str) -> T:
    """``value`` as a pydantic model or type adapter reads it (pass its ``validate_python``). Raises DataError."""
    try:
        return read_as(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "its start"
        raise DataError(f"{where} is malformed at {place}: {first['msg']}.") from error


def unique(ids: Iterable[str], where: str) -> None:
    """Raises DataError that names the first of them that comes twice."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            told = name if len(name) < SHOWN else f"{name[:SHOWN]} ..."
            raise DataError(f"{where} holds the id {told!r} twice; remove one.")
        seen.add(name)

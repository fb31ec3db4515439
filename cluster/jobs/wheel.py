"""Packs the running aiflow as a wheel, from a checkout or an installation, without any build tool.

The wheel asks for no other packages: those are the cluster's to have. Its name holds a hash of its content, because Ray
knows wheels by name; it is packed once and kept in the user's cache.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import aiflow

_EPOCH = (2020, 1, 1, 0, 0, 0)  # the same content gives the same bytes
_WEIGHTS = "weights"
_KEEP = 3  # wheels in the cache


def pack(*, weights: bool = True, cache: Path | None = None) -> Path:
    """The wheel of this very aiflow; ``weights=False`` leaves out those of the models that ship (some 40 MB)."""
    files = dict(sorted(_files(weights)))
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    number = f"{_version()}+{digest.hexdigest()[:16]}"
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aiflow" / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"aiflow-{number}-py3-none-any.whl"
    if not wheel.exists():
        new = wheel.with_suffix(f".{os.getpid()}")
        _write(new, files, number)
        os.replace(new, wheel)
        for old in sorted(folder.glob("aiflow-*.whl"), key=lambda path: path.stat().st_mtime)[:-_KEEP]:
            old.unlink(missing_ok=True)
    return wheel


def rooms() -> dict[str, Path]:
    """Where each part of the package lies: one folder if it is installed, several in a checkout (see setup.py)."""
    home = Path(aiflow.__file__).resolve().parent
    root = home.parent.parent
    if not (root / "setup.py").exists() or (home / "cluster").exists():
        return {"aiflow": home}
    markers = [path for path in root.glob("*/__init__.py") if path.parent.name != "tests"]
    return {"aiflow": home, **{f"aiflow/{path.parent.name}": path.parent for path in sorted(markers)}}


def _files(weights: bool) -> Iterator[tuple[str, Path]]:
    for prefix, folder in rooms().items():
        for path in folder.rglob("*"):
            parts = path.relative_to(folder).parts
            hidden = "__pycache__" in parts or any(part.startswith(".") for part in parts)
            left_out = not weights and _WEIGHTS in parts[:-1] and path.suffix != ".py"
            if path.is_file() and not hidden and not left_out:
                yield "/".join((prefix, *parts)), path


def _version() -> str:
    try:
        return version("aiflow").partition("+")[0]
    except PackageNotFoundError:
        return "0"


def _write(wheel: Path, files: dict[str, Path], number: str) -> None:
    info = f"aiflow-{number}.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: aiflow\nVersion: {number}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: aiflow\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "".join(f"{name},,\n" for name in (*files, f"{info}/METADATA", f"{info}/WHEEL")),
    }
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED)
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)

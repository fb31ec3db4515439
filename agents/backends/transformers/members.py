"""``FOLDER#MEMBER``: a member of a family, or a level of a nested model, as a model like any other.

``#2`` is the branch at exit 2, ``#2:0.75`` its first components, ``#2:0`` none of them; of a nested model, ``#0.4`` is
the level of that name and ``#1`` the smallest level, unless one has that name. Without ``#`` it is the full model, or
the largest level. Only the weights of the member are read. Knows nothing of requests.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from aiflow.errors import UnknownModelError


def split(name: str) -> tuple[str, str]:
    """The model and the member ("" for none). A folder may have # in its name."""
    if Path(name).expanduser().is_dir():
        return name, ""
    model, _, part = name.partition("#")
    return model, part


def load(source: str, part: str, dtype: str) -> Any | None:
    """The member of a family or nested model, or None where ``source`` is neither.

    Raises UnknownModelError for a part of a plain model, InputError for a member that is not there, WeightsError for
    a damaged or short file.
    """
    kind = _kind(Path(source) / "config.json")
    if kind == "aiflow_family":
        model = _member(source, part, None if dtype == "auto" else getattr(torch, dtype))
    elif kind == "aiflow_nested":
        model = _level(source, part, None if dtype == "auto" else getattr(torch, dtype))
    elif part:
        raise UnknownModelError(f"{source!r} is neither a family nor a nested model; leave out {'#' + part!r}.")
    else:
        return None
    if (Path(source) / "generation_config.json").is_file():
        from transformers import GenerationConfig

        model.generation_config = GenerationConfig.from_pretrained(source)
    return model


def member(source: str, part: str) -> Any | None:
    """Which member of a family (`familial.family.Member`) that is; None for the full model, and for other models."""
    from aiflow.collaboration.familial.family import Member

    found = Member.parse(part) if part and _kind(Path(source) / "config.json") == "aiflow_family" else None
    return None if found is None or found.exit == _depth(source) else found


def drafter(source: str, model: Any) -> Any | None:
    """The drafter of a family's full model, if there is one. Raises WeightsError for a damaged one."""
    from aiflow.collaboration.familial import drafter
    from aiflow.collaboration.familial.family import Family

    folder = Path(source) / drafter.FOLDER
    if _kind(Path(source) / "config.json") != "aiflow_family" or not (folder / "config.json").is_file():
        return None
    if model.config.get_text_config().num_hidden_layers != _depth(source):
        return None
    return drafter.Drafter.from_pretrained(folder, Family(model))


@contextmanager
def quietly(source: str) -> Iterator[None]:
    """Within it transformers does not warn that a family's config is of a kind of its own."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    if _kind(Path(source) / "config.json").startswith("aiflow"):
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _kind(config: Path) -> str:
    try:
        found = json.loads(config.read_text())
    except (OSError, ValueError):
        return ""
    return str(found.get("model_type", "")) if isinstance(found, dict) else ""


def _depth(source: str) -> int:
    from aiflow.collaboration.familial.files import describe

    backbone = describe(source).backbone
    return int(backbone.get("text_config", backbone)["num_hidden_layers"])


def _member(source: str, part: str, dtype: torch.dtype | None) -> Any:
    from aiflow.collaboration.familial.family import Family, Member

    member = Member.parse(part) if part else Member(exit=_depth(source))
    family = Family.from_pretrained(source, member=member, dtype=dtype)
    family.check(member)
    # What was read of the branch is just the member's part of it.
    return family.member(replace(member, keep=None) if member.keep else member)


def _level(source: str, part: str, dtype: torch.dtype | None) -> Any:
    from aiflow.collaboration.familial import nested

    names = [level.name for level in nested.members(source)]
    if part.isdecimal() and part not in names and 1 <= int(part) <= len(names):
        part = names[int(part) - 1]
    return nested.load(source, part or None, dtype)

"""Which parties there are, and how a model string becomes one: only the weights of its part are loaded.

``aiflow:motion#ins`` is a part of the shipped pipeline, ``<folder>#ins`` of a saved one. Torch is imported on loading.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

from aiflow.errors import InputError, UnknownModelError, suggest

ROLES: Mapping[str, tuple[str, ...]] = {
    "motion": ("ins", "rec"),
    "depth": ("encoder", "near", "far", "fusion"),
    "video": ("backbone", "rgb", "depth", "segment", "edges"),
}
"""The parts of each system."""
_LOADERS = {"depth": ("aiflow.diffusion.depth.party", "party"), "video": ("aiflow.diffusion.video.party", "load_party")}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A party and what it is; ``model`` is the fingerprint of its weights, ``about`` further facts."""

    party: Any
    system: str
    role: str
    model: str
    about: dict[str, str] = field(default_factory=dict)

    def plan(self, steps: int) -> tuple[str, list[int]]:
        """The hash of its schedule of ``steps`` steps and the shape of its latents, as far as it has them."""
        pipeline = getattr(self.party, "pipeline", None)
        scheduler = getattr(pipeline, "scheduler", None)
        if not steps or scheduler is None:
            return "", []
        from aiflow.diffusion.files import schedule_hash

        shaped = getattr(pipeline, "transformer", None) is not None and hasattr(pipeline, "latent_shape")
        return schedule_hash(scheduler, steps), list(pipeline.latent_shape()) if shaped and pipeline else []


def split(model: str) -> tuple[str, str, str]:
    """``aiflow:motion#ins`` -> (``motion``, ``motion``, ``ins``); of a folder (its path, its system, the role).

    Raises UnknownModelError, WeightsError.
    """
    from aiflow.diffusion.files import folder, system

    name, _, role = model.partition("#")
    name = name.removeprefix("aiflow:")
    kind = name if name in ROLES else system(folder(name))
    if role not in ROLES[kind]:
        raise UnknownModelError(
            f"model {model!r} must say which part of {kind} it is, like {name}#{ROLES[kind][0]}; "
            f"{suggest(role, list(ROLES[kind]))}"
        )
    return name, kind, role


def is_party(model: str) -> bool:
    """Whether a model string names a part of a diffusion pipeline (of any role)."""
    name = model.partition("#")[0]
    if name.startswith("aiflow:"):
        return name.removeprefix("aiflow:") in ROLES
    return Path(os.path.expanduser(name), "model_index.json").is_file()  # Path.expanduser can raise


def check(model: str) -> None:
    """Raises what `load` would, as far as that is cheap to know: UnknownModelError, WeightsError."""
    from aiflow.diffusion.files import folder

    folder(split(model)[0])


def load(model: str, device: str = "cpu") -> Loaded:
    """Makes a party. Raises UnknownModelError, WeightsError, InputError for a device that cannot be used."""
    name, system, role = split(model)
    make = _motion if system == "motion" else _loader(system)
    options = {} if device == "cpu" else {"device": _device(device)}
    if options and "device" not in signature(make).parameters:
        raise InputError(f"the parts of {system} run on the cpu; leave device={device!r} out.")
    return loaded(make(name, role, **options), system, role)


def _loader(system: str) -> Any:
    module, function = _LOADERS[system]
    return getattr(import_module(module), function)


def _motion(name: str, role: str) -> Any:
    from aiflow.diffusion.files import load as load_pipeline
    from aiflow.diffusion.motion.party import Composer, Refiner

    pipeline = load_pipeline(name, **{"rec" if role == "ins" else "ins": None})
    shared = pipeline.text_encoder, pipeline.tokenizer, pipeline.scheduler
    return Composer(pipeline.ins, *shared) if role == "ins" else Refiner(pipeline.rec, *shared)


def loaded(party: Any, system: str, role: str) -> Loaded:
    """A party with what can be said of it."""
    about = {"aiflow": version("aiflow"), "torch": version("torch"), "diffusers": version("diffusers")}
    names = getattr(getattr(getattr(party, "pipeline", None), "config", None), "modalities", None)
    if names:
        about["modalities"] = ",".join(names)
    model = str(getattr(party, "model", "") or getattr(party, "encoder", ""))
    return Loaded(party=party, system=system, role=role, model=model, about=about)


def _device(device: Any) -> str:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f"device={device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return str(device)

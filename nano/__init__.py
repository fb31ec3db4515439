"""The nano family: one small base model, five expert devices and a server, trained by our own command, shipped with it.

This module and `aiflow.nano.questions` import no torch.
"""

from difflib import get_close_matches
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"

DEVICES: dict[str, str] = {
    "math": "arithmetic and word problems",
    "code": "small programs and what they print",
    "text": "editing lists of words",
    "islands": "islands of the Merun sea",
    "minerals": "minerals and their uses",
}
"""The devices and how they describe themselves."""

MODELS = ("base", *DEVICES, "server")


def resolve(name: str) -> tuple[Path, Path | None]:
    """The folders of a model id such as "nano/math": the base, and the LoRA adapter (None for "nano/base").

    Raises:
        UnknownModelError: if there is no such model, or its weights are not here; names what there is.
    """
    from aiflow.errors import UnknownModelError

    known = [f"nano/{m}" for m in MODELS]
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.3) or known
        raise UnknownModelError(f"there is no model {name!r}; the nearest are {', '.join(near)}")
    base, folder = WEIGHTS / "base", WEIGHTS / name.removeprefix("nano/")
    for needed in (base / "model.safetensors", folder / _weights_file(folder.name)):
        if not needed.is_file():
            raise UnknownModelError(f"the weights of {name!r} are not in {WEIGHTS}; make them with `aiflow train nano`")
    return base, None if folder == base else folder


def _weights_file(model: str) -> str:
    return "model.safetensors" if model == "base" else "adapter_model.safetensors"

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
FAMILIES = {
    "family": "one vision language model with branches at five exits: device, edge and cloud members from one file",
    "hpcd": "four nested low-rank members of a generalist",
}
"""The families and what they are; their members are chosen where they are used."""


def resolve(name: str) -> tuple[Path, Path | None]:
    """The folders of a model id such as "nano/math": the base, and the LoRA adapter (None for a model without one).

    Raises:
        UnknownModelError: if there is no such model, or its weights are not here; names what there is.
    """
    from aiflow.errors import UnknownModelError

    known = [f"nano/{m}" for m in (*MODELS, *FAMILIES)]
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.3) or known
        raise UnknownModelError(f"there is no model {name!r}; the nearest are {', '.join(near)}")
    folder = WEIGHTS / name.removeprefix("nano/")
    adapted = folder.name in MODELS and folder.name != "base"
    base = WEIGHTS / "base" if adapted else folder
    for needed in (base / "model.safetensors", *([folder / "adapter_model.safetensors"] if adapted else [])):
        if not needed.is_file():
            train = "family" if folder.name in FAMILIES else "nano"
            command = f"aiflow train {train}"
            raise UnknownModelError(f"the weights of {name!r} are not in {WEIGHTS}; make them with `{command}`")
    return base, folder if adapted else None

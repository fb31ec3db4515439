"""A plain LoRA adapter, added to the weights of one block at a time: what merging all of it would give, bit for bit.

Knows the files that peft writes, and refuses what it would have to guess.
"""

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from aiflow.collaboration.familial.store import Reader
from aiflow.errors import UnsupportedModelError, WeightsError

_NAME = re.compile(r".*\blayers\.(\d+)\.(.+)\.lora_([AB])\.weight")
_ABSENT = (
    "use_dora",
    "use_rslora",
    "fan_in_fan_out",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
)


class Lora:
    """``sample``: some of its bytes, to tell adapters apart."""

    def __init__(self, folder: Path) -> None:
        """Reads the configuration and the header. Raises UnsupportedModelError, WeightsError."""
        path = folder / "adapter_config.json"
        try:
            config: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} cannot be read ({error}); give a folder with an adapter.") from None
        special = [name for name in _ABSENT if config.get(name)]
        if config.get("peft_type") != "LORA" or special or config.get("bias", "none") != "none":
            raise UnsupportedModelError(
                f"{folder} is no plain LoRA adapter ({', '.join(special) or config.get('peft_type')}); "
                "merge it into its model and use that."
            )
        self._scale = float(config["lora_alpha"]) / float(config["r"])
        self._reader = Reader(folder / "adapter_model.safetensors")
        self._names: dict[tuple[int, str, str], str] = {}
        for name in self._reader.names:
            found = _NAME.fullmatch(name)
            if found is None:
                raise UnsupportedModelError(f"{folder} changes {name!r}, which is in no block; merge it and use that.")
            self._names[int(found[1]), found[2], found[3]] = name
        first = next(iter(self._names.values()), None)
        self.sample = b"" if first is None else self._reader.read(first).float().numpy().tobytes()[:4096]

    def added(self, weight_MN: Tensor, block: int, linear: str) -> Tensor:
        """The weight with what the adapter adds to this linear of this block."""
        if (block, linear, "A") not in self._names:
            return weight_MN
        a_RN, b_MR = (self._reader.read(self._names[block, linear, which]).float() for which in "AB")
        return weight_MN + ((b_MR @ a_RN) * self._scale).to(weight_MN.dtype)

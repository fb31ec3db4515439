"""Single decoders over the same encoder: what near and far are measured against.

``linear``: cap * sigmoid, the usual metric-depth head; ``log``: the exponential of the output; ``bins``: AdaBins' form,
a mean of bin centres that the image chooses. ``domains``: the decoder is told whether it looks indoors or outdoors,
which is what anchors fixed to 10 and 80 m tell near and far. Knows no loss.

Legend: B batch, H W of the padded image, N bins, E embedding.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from aiflow.diffusion.depth.model import Trunk

Head = Literal["linear", "log", "bins"]
CAP = 80.0


class SingleDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """One decoder for all depths.

    ``caps``: of the linear head, one for each domain (or one for all). ``start``: metres that it says untrained.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        head: Head = "log",
        channels: Sequence[int] = (24, 48, 72, 96),
        widths: Sequence[int] = (34, 68, 90, 90),
        domains: int = 0,
        caps: Sequence[float] = (CAP,),
        bins: int = 64,
        embed: int = 32,
        start: float = 6.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.head = head
        self.caps, self.begin = list(caps), math.log(start)
        self.offset = self.begin - math.log(max(1e-6, CAP - start))
        self.domain = nn.Embedding(domains, embed) if domains else None
        outputs = bins if head == "bins" else 1
        self.trunk = Trunk(channels, widths, outputs, embed if domains else 0)
        self.shares = (
            nn.Sequential(nn.Linear(channels[-1], 64), nn.ReLU(), nn.Linear(64, bins)) if outputs > 1 else None
        )

    def forward(self, levels: Sequence[Tensor], domain_B: Tensor | None = None) -> Tensor:
        """Log depth ``(B, H, W)``. ``domain_B``: 0 indoors, 1 outdoors, if the decoder is told."""
        told = self.domain is not None and domain_B is not None
        out = self.trunk(levels, self.domain(domain_B) if told and self.domain is not None else None)
        if self.head == "linear":
            cap_B = torch.tensor(self.caps)[domain_B if len(self.caps) > 1 and domain_B is not None else 0]
            cap = cap_B.reshape(-1, 1, 1)
            return torch.log(cap) + F.logsigmoid(out[:, 0] + self.offset)
        if self.head == "bins":
            return torch.log(self._centres(levels[-1], out))
        z: Tensor = out[:, 0] + self.begin
        return z

    def _centres(self, coarse: Tensor, out: Tensor) -> Tensor:
        """AdaBins: normalised widths from the image's mean feature, centres in log depth from 0.25 m to the cap."""
        assert self.shares is not None
        share_BN = torch.softmax(self.shares(coarse.float().mean(dim=(2, 3))).float(), dim=1)
        span = math.log(CAP / 0.25)
        centre_BN = math.log(0.25) + span * (share_BN.cumsum(dim=1) - share_BN / 2)
        return torch.einsum("bnhw,bn->bhw", torch.softmax(out, dim=1), torch.exp(centre_BN))

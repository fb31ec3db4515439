"""What an answer on a compressed image tells its asker. Plain data."""

from dataclasses import dataclass

from aiflow.types import Answer


@dataclass(frozen=True, kw_only=True)
class Looked(Answer):
    """An answer of a server to a question on an image of which it got features.

    The three times add up to ``seconds``, but for the asker's own work.

    Attributes:
        tokens: features that the image was merged into.
        level: of their quality.
        nbytes: of the compressed image.
        device_seconds: from the image to the bytes.
        link_seconds: in which something was on its way, to the device and back included.
        server_seconds: from the bytes to the text.
    """

    tokens: int = 0
    level: int = 0
    nbytes: int = 0
    device_seconds: float = 0.0
    link_seconds: float = 0.0
    server_seconds: float = 0.0

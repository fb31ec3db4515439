"""A loaded model as a party of collaborative decoding (`aiflow.agents.decoding.speaker`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aiflow.agents.backends.transformers.loading import Loaded
from aiflow.agents.decoding.speaker import Speaker, fingerprint
from aiflow.collaboration.decoding.engine import Engine, Read, TransformersEngine
from aiflow.collaboration.decoding.members import FamilyEngine
from aiflow.collaboration.familial.family import Family
from aiflow.errors import UnsupportedModelError


def speaker(loaded: Loaded, threads: int) -> Speaker:
    """Engine, tokenizer and limits of a model; ``threads`` are the CPU's. Raises InputError."""
    tokenizer = loaded.prompter.tokenizer
    vocabulary = min(len(tokenizer), loaded.model.get_output_embeddings().weight.shape[0])
    return Speaker(
        engine=Threads(engine(loaded), threads),
        prompt=loaded.prompter,
        images=loaded.prompter.images,
        decode=loaded.decode,
        ends=loaded.ends,
        silent=loaded.silent,
        context=loaded.context,
        vocabulary=vocabulary,
        parts=fingerprint(tokenizer, loaded.prompter.template, vocabulary),
    )


def engine(loaded: Loaded) -> Engine:
    """The fastest engine that knows the model; with a drafter it reads ahead. Raises InputError if none does."""
    try:
        shared = FamilyEngine(Family(loaded.model))
    except UnsupportedModelError:
        return TransformersEngine(loaded.model)
    return shared.view(shared.full) if loaded.drafter is None else shared.ahead(loaded.drafter)


class Threads:
    """Reads with as many CPU threads as the model was given, whichever thread asks."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self.engine, self._threads = engine, threads

    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """See `Engine.read`."""
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        return self.engine.read(asked)

    def close(self, session: int) -> None:
        """See `Engine.close`."""
        self.engine.close(session)

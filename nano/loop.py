"""The loss of the text models, and how the shared training loop computes its gradients."""

from typing import Any

import torch
from torch import Tensor, nn

from aiflow.nano.batches import Batch


def loss_of(model: Any, batch: Batch) -> Tensor:
    """Weighted mean cross entropy; logits are computed only where a token counts."""
    weights = batch.weights[:, 1:]
    chosen = weights > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = _body(model)(input_ids=batch.ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(hidden[chosen])
    losses = nn.functional.cross_entropy(logits.float(), batch.ids[:, 1:][chosen], reduction="none")
    return (losses * weights[chosen]).sum() / weights[chosen].sum()


def _body(model: Any) -> Any:
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).model


def backward(model: Any, batch: Batch) -> float:
    """Accumulates the gradients of `loss_of` and returns the loss."""
    loss = loss_of(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()

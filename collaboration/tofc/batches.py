"""Dialogues on images as batches, and what the language model reads of them once an image is few features.

`Batch` takes images of any sizes, a `familial.training.TextBatch` images of one size as one tensor.

Legend: B rows, T tokens of a prompt with N places of its image, G tiles with as many features, M merged features of a
tile, K of all rows, S tokens that stay, C channels, P places of merged features and newlines in all rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from aiflow.collaboration.familial.losses import at_least_float, cast
from aiflow.collaboration.familial.training import TextBatch
from aiflow.collaboration.tofc.adapters import Inputs
from aiflow.collaboration.tofc.merging import shares
from aiflow.collaboration.tofc.sequence import expanded, kept, run_of
from aiflow.errors import InputError

if TYPE_CHECKING:
    from aiflow.collaboration.tofc.model import Compressor


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A dialogue on one image.

    Attributes:
        ids: tokens, with one image token or as many as the image has places, in a row; text follows them.
        weights: how much it counts that each token is predicted; 0: not at all.
        inputs: what the model's image processor makes of the image.
    """

    ids: Sequence[int]
    weights: Sequence[float]
    inputs: Inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows that a step learns from."""

    rows: tuple[Row, ...]

    @property
    def tokens(self) -> int:
        """As the rows have them, for the log."""
        return sum(len(row.ids) for row in self.rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """What the language model reads, padded on the right, and what it is to predict at each place.

    Attributes:
        ids_BS, targets_BS, weights_BS: tokens that stay, the ones that follow them, and how much these count.
        positions: (B, S) or (3, B, S), of the full prompts.
        x: merged features (..., C) as decoded, row by row.
        what_P: which of them stands at each image token, -1 for a newline; None: all in their order.
        bits, balance: see `training.Losses`.
    """

    ids_BS: Tensor
    targets_BS: Tensor
    weights_BS: Tensor
    positions: Tensor
    x: Tensor
    what_P: Tensor | None
    bits: Tensor
    balance: Tensor


def together(
    model: "Compressor", batch: TextBatch, *, tokens: int, level: int | None, temperature: float, autocast: bool
) -> Read:
    """Images of one size, each row with as many image tokens. Raises InputError for a row without an image."""
    own = model.adapter
    if batch.pixel_values is None or len(batch.pixel_values) != len(batch.ids_BT):
        raise InputError("every row of a batch needs one image; leave rows of text alone out.")
    if own.fields:
        raise InputError("images of this model have sizes of their own; give a `tofc.batches.Batch`.")
    with cast(batch.weights_BT, autocast):
        x_BNC = own.features(batch.pixel_values)
    coded = model.codec(at_least_float(x_BNC), tokens=tokens, level=level, temperature=temperature)
    place_BS = kept(batch.ids_BT, own.image_token, coded.clusters.centres_BM)
    ids_BS, targets_BS, weights_BS = (t.gather(1, place_BS) for t in (batch.ids_BT, batch.targets_BT, batch.weights_BT))
    return Read(
        ids_BS=ids_BS,
        targets_BS=targets_BS,
        weights_BS=weights_BS,
        positions=place_BS,
        x=coded.x_BMC,
        what_P=None,
        bits=coded.bits_B.mean(),
        balance=coded.balance,
    )


def apart(
    model: "Compressor", batch: Batch, *, tokens: int, level: int | None, temperature: float, autocast: bool
) -> Read:
    """Images of any sizes; of several tiles each keeps its share, as an `Encoder` has it. Raises InputError."""
    own, weight = model.adapter, model.parts.text.embed_tokens.weight
    with cast(weight, autocast):
        tiles = _tiles(own, batch)
    merged, chosen = _merged(model, tiles, tokens)
    ends = torch.tensor([sum(map(len, row)) for row in merged]).cumsum(0).tolist()
    x_KC, bits, balance = model.codec.soft(torch.cat([x for row in merged for x in row]), level, temperature)
    short = [
        _short(model, row, places, start)
        for row, places, start in zip(batch.rows, chosen, [0, *ends[:-1]], strict=True)
    ]
    pad = int(own.image_token == 0)  # any token that is no image's
    ids, targets, weights, positions, what = zip(*short, strict=True)
    positions_BSx = pad_sequence(list(positions), batch_first=True)
    return Read(
        ids_BS=pad_sequence(list(ids), batch_first=True, padding_value=pad).to(weight.device),
        targets_BS=pad_sequence(list(targets), batch_first=True).to(weight.device),
        weights_BS=pad_sequence(list(weights), batch_first=True).to(weight.device),
        positions=positions_BSx.movedim(-1, 0) if positions_BSx.ndim == 3 else positions_BSx,
        x=x_KC,
        what_P=torch.cat(what).to(weight.device),
        bits=bits.sum() / len(batch.rows),
        balance=balance,
    )


def _tiles(own: Any, batch: Batch) -> list[list[Tensor]]:
    """The features (N, C) of each tile of each row's image; those of images of one size in one pass."""
    if own.fields:
        return [own.tiles(row.inputs) for row in batch.rows]
    for row in batch.rows:
        own.size(row.inputs)  # raises InputError for pixels that do not fit
    return [[x_NC] for x_NC in own.features(torch.cat([row.inputs["pixel_values"] for row in batch.rows]))]


def _merged(
    model: "Compressor", tiles: list[list[Tensor]], tokens: int
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """The merged features (M, C) of every tile, and its centres (M,); tiles with as many features in one pass."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for b, row in enumerate(tiles):
        features = [len(x_NC) for x_NC in row]
        for t, pair in enumerate(zip(features, shares(features, tokens), strict=True)):
            groups.setdefault(pair, []).append((b, t))
    merged, chosen = [list(row) for row in tiles], [list(row) for row in tiles]
    for (_, share), members in groups.items():
        x_GMC, clusters = model.codec.merge(at_least_float(torch.stack([tiles[b][t] for b, t in members])), share)
        for (b, t), x_MC, centres_M in zip(members, x_GMC, clusters.centres_BM, strict=True):
            merged[b][t], chosen[b][t] = x_MC, centres_M
    return merged, chosen


def _short(
    model: "Compressor", row: Row, centres: list[Tensor], start: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Ids, targets, weights (S,), positions (S,) or (S, 3) and what stands where (P,), counted from ``start``."""
    own, text = model.adapter, model.parts.text
    if len(row.ids) != len(row.weights) or not row.ids or row.ids[-1] == own.image_token:
        raise InputError(
            f"a row has {len(row.ids)} tokens and {len(row.weights)} weights, and must end with text; give a weight "
            "for each token."
        )
    size = own.size(row.inputs)
    layout = own.layout(size)
    ids = expanded(row.ids, own.image_token, layout.count, text.embed_tokens.num_embeddings)
    run = run_of(row.ids, own.image_token, layout.count)
    weights = [*row.weights[: run.start], *[0.0] * layout.count, *row.weights[run.stop :]]
    places_P, what_P = layout.stay([centres_M.cpu() for centres_M in centres])
    ids_1T = torch.tensor([ids])
    columns_S = kept(ids_1T, own.image_token, places_P[None])[0]
    positions = own.positions(ids_1T.to(text.embed_tokens.weight.device), size)[..., 0, :]
    ids_S, weights_S = ids_1T[0, columns_S], torch.tensor(weights)[columns_S]
    return (
        ids_S[:-1],
        ids_S[1:],
        weights_S[1:],
        positions[..., columns_S[:-1].to(positions.device)].movedim(0, -1),
        torch.where(what_P < 0, what_P, what_P + start),
    )

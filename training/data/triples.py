"""Triples as of `PairBatches`, from people who perform the same motions: what a stranger's motion makes of the source
is known."""

from __future__ import annotations

from torch import Tensor

from training.arguments import DataOptions
from training.data.grids import GridBatches, StackedGrids
from vivface.errors import OptionError


class TrueTriples:
    """`source`, `same` and `other` (B, 3, S, S): `same` is the source's person in the very motion of `other`.

    `same_regions` (B, 4, S, S) are the soft maps of its face, eyes, brows and mouth, in [0, 1].

    Made of grids of `options.identities` people who are driven by one frame of anyone in their group; see
    `GridBatches`, whose crops and augmentation these are.

    Args:
        options (`DataOptions`): Of shards; `batch` is a multiple of `identities`.
        seed (`int`): Of all choices.

    Raises:
        OptionError: If the data are no shards, or the batch is no such multiple.
    """

    def __init__(self, options: DataOptions, seed: int):
        if options.kind != "shards":
            raise OptionError(f"data.kind is {options.kind!r}, expected 'shards': only renders have a ground truth")
        if options.batch % options.identities:
            raise OptionError(f"data.batch is {options.batch}, expected a multiple of data.identities")
        one = options.model_copy(update={"motions": 1, "driving_frames": 1})
        self.grids = StackedGrids(GridBatches(one, seed), options.batch // options.identities)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        grids = self.grids[index]
        source, same = grids["source"], grids["target"][:, :, 0]  # (grids, identities, 3, S, S)
        other = grids["driving"][:, 0].expand(-1, source.shape[1], -1, -1, -1)
        triples = {"source": source, "same": same, "other": other, "same_regions": grids["regions"][:, :, 0]}
        return {name: each.flatten(0, 1) for name, each in triples.items()}

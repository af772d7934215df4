"""Identity stage: an embedding of faces that knows people apart (additive angular margin).

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (CVPR 2019). Synthetic people come with
their labels; pictures are augmented hard, so that neither light nor compression nor expression tells who it is. Some
people are held out; how well pairs of their pictures are told apart is logged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arguments import option
from training.data import Clips, ImageBatches, open_clips
from training.losses import angular_margin_loss
from training.stages.base import Stage, tile
from vivface.errors import CheckpointError, OptionError
from vivface.models import IdentityNetwork


@dataclass
class IdentityOptions:
    """Settings of the identity stage."""

    margin: float = option(0.5, "angle that is added to the angle to the right class, radians")
    scale: float = option(30.0, "factor of the cosines; published 64, less suits fewer classes")
    held_out: float = option(0.05, "part of the people that is kept for verification")
    verify_every: int = option(500, "steps between verifications")
    verify_batches: int = option(4, "batches of a verification")


class Centres(nn.Module):
    """One learned vector a person."""

    def __init__(self, people: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, dim))

    def forward(self) -> Tensor:
        """Unit vectors (people, dim)."""
        return F.normalize(self.weight)


class _Part(Clips):
    """The clips of some people, labelled anew from 0."""

    def __init__(self, clips: Clips, people: list[int]):
        index = {label: k for k, label in enumerate(people)}
        self.clips = clips
        self.chosen = [k for k, label in enumerate(clips.labels) if label in index]
        self.labels = [index[clips.labels[k]] for k in self.chosen]

    def length(self, clip: int) -> int:
        return self.clips.length(self.chosen[clip])

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move=None) -> np.ndarray:
        return self.clips.crop(self.chosen[clip], frame, size, anchor, move)


class IdentityStage(Stage):
    """Train `identity` and one centre a person; optimiser `main`."""

    options_class = IdentityOptions

    def build(self) -> None:
        clips = open_clips(self.preset.data)
        order = np.random.default_rng(0).permutation(clips.classes).tolist()
        kept = max(2, round(self.options.held_out * len(order)))
        if len(order) < kept + 2:
            raise OptionError(f"data.folders show {len(order)} people, expected at least 4 to train and to verify")
        self.training, self.held_out = _Part(clips, sorted(order[kept:])), _Part(clips, sorted(order[:kept]))
        identity = self.add_network("identity", self.make(IdentityNetwork, "identity"), average=True)
        self.add_network("centres", Centres(self.training.classes, identity.config.embedding_dim))
        self.add_optimizer("main", "identity", "centres")
        self.seen: Tensor | None = None

    def dataset(self) -> ImageBatches:
        return ImageBatches(self.training, self.preset.data, self.preset.loop.seed, hard=True)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        options, label = self.options, batch["label"]
        self.seen = batch["image"]
        with self.autocast():
            embedding = self.networks["identity"].embed(batch["image"])
        embedding, centres = embedding.float(), self.networks["centres"]()
        loss = angular_margin_loss(embedding, centres, label, options.scale, options.margin)
        self.update("main", loss)
        scalars = {"loss": loss, "accuracy": ((embedding @ centres.T).argmax(1) == label).float().mean()}
        if (self.progress.step + 1) % options.verify_every == 0:
            scalars |= self.verify()
        return scalars

    @torch.no_grad()
    def verify(self) -> dict[str, float]:
        """Cosines of held-out pairs: means of same and different people, and how often same beats different."""
        network, data = self.averaged("identity"), self.preset.data
        batches = ImageBatches(self.held_out, data, seed=1, hard=True)
        parts = [batches[k] for k in range(self.options.verify_batches)]
        embedding = torch.cat([network.embed(part["image"].to(self.device)) for part in parts])
        label = torch.cat([part["label"] for part in parts]).to(self.device)
        first, second = torch.triu_indices(len(label), len(label), 1, device=self.device)
        cosine = (embedding @ embedding.T)[first, second]
        same = label[first] == label[second]
        if not same.any() or same.all():
            return {}
        wins = (cosine[same][:, None] > cosine[~same][None]).float().mean()
        return {
            "held_out/same": cosine[same].mean().item(),
            "held_out/different": cosine[~same].mean().item(),
            "held_out/wins": wins.item(),
        }

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        return len(batch["image"])

    def load_state_dict(self, state: dict) -> None:
        saved = len(state["networks"]["centres"]["weight"])
        if saved != self.training.classes:
            raise CheckpointError(
                f"the state was trained on {saved} people and data.folders show {self.training.classes}: "
                "resume with the people of the first piece"
            )
        super().load_state_dict(state)

    def sample_grid(self) -> np.ndarray | None:
        """The last batch: what the augmentation does."""
        if self.seen is None:
            return None
        images = list(self.seen[:32])
        return tile([images[k : k + 8] for k in range(0, len(images), 8)])

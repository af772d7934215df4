"""Recognizer stage: an embedding of faces that tells identities apart.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (CVPR 2019). Synthetic people come with
their labels; images are augmented strongly, so that light, compression and expression give no hint. Some identities are
held out; how well pairs of their images are told apart is logged.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arguments import Options, option
from training.data import ClipSubset, ImageBatches, open_clips
from training.losses import angular_margin_loss
from training.stages.base import Stage, tile
from vivface.errors import CheckpointError, OptionError
from vivface.models import IdentityNetwork


class RecognizerOptions(Options):
    """Settings of the recognizer stage."""

    margin: float = option(0.5, "angle added to the angle to the true class, radians")
    scale: float = option(30.0, "factor of the cosines; published 64, less suits fewer classes")
    held_out: float = option(0.05, "fraction of the identities that is held out for verification")
    verify_every: int = option(500, "steps between verifications")
    verify_batches: int = option(4, "batches of a verification")


class Centres(nn.Module):
    """One learned vector per identity.

    Args:
        identities (`int`): How many.
        dim (`int`): Width of the embedding.
    """

    def __init__(self, identities: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(identities, dim))

    def forward(self) -> Tensor:
        """Unit vectors `(identities, dim)`."""
        return F.normalize(self.weight)


class RecognizerStage(Stage):
    """Train `recognizer` and one centre per identity; optimiser `main`."""

    options_class = RecognizerOptions

    def build(self) -> None:
        """Divide the identities, add recognizer and centres.

        Raises:
            OptionError: If there are fewer than four identities.
        """
        clips = open_clips(self.preset.data)
        order = np.random.default_rng(0).permutation(clips.classes).tolist()
        count = max(2, round(self.options.held_out * len(order)))
        if len(order) < count + 2:
            raise OptionError(f"data.folders show {len(order)} people, expected at least 4 to train and to verify")
        self.training = ClipSubset(clips, sorted(order[count:]))
        self.held_out = ClipSubset(clips, sorted(order[:count]))
        recognizer = self.add_network("recognizer", self.make(IdentityNetwork, "recognizer"), average=True)
        self.add_network("centres", Centres(self.training.classes, recognizer.config.embedding_dim))
        self.add_optimizer("main", "recognizer", "centres")
        self.last_batch: Tensor | None = None

    def dataset(self) -> ImageBatches:
        """Single images of the training identities, strongly augmented."""
        return ImageBatches(self.training, self.preset.data, self.preset.loop.seed, strong_augmentation=True)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update recognizer and centres with the angular margin loss.

        Args:
            batch (`dict[str, torch.Tensor]`): `image` `(batch, 3, size, size)` in [-1, 1] and `label` `(batch,)`.

        Returns:
            `dict`: Loss, accuracy and, every `verify_every` steps, the verification of held-out identities.
        """
        options, label = self.options, batch["label"]
        self.last_batch = batch["image"]
        with self.autocast():
            embedding = self.networks["recognizer"].embed(batch["image"])
        embedding, centres = embedding.float(), self.networks["centres"]()
        loss = angular_margin_loss(embedding, centres, label, options.scale, options.margin)
        self.update("main", loss)
        scalars = {"loss": loss, "accuracy": ((embedding @ centres.T).argmax(1) == label).float().mean()}
        if (self.progress.step + 1) % options.verify_every == 0:
            scalars |= self.verify()
        return scalars

    @torch.no_grad()
    def verify(self) -> dict[str, float]:
        """Cosines of pairs of held-out images: means of same and different identities, and how often same is larger."""
        network, data = self.averaged("recognizer"), self.preset.data
        batches = ImageBatches(self.held_out, data, seed=1, strong_augmentation=True)
        chosen = [batches[k] for k in range(self.options.verify_batches)]
        embedding = torch.cat([network.embed(batch["image"].to(self.device)) for batch in chosen])
        label = torch.cat([batch["label"] for batch in chosen]).to(self.device)
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
        """Restore a state of the same preset and the same identities.

        Raises:
            CheckpointError: If the state was trained on another number of identities.
        """
        saved = len(state["networks"]["centres"]["weight"])
        if saved != self.training.classes:
            raise CheckpointError(
                f"the state was trained on {saved} people and data.folders show {self.training.classes}: "
                "resume with the people of the first piece"
            )
        super().load_state_dict(state)

    def sample_grid(self) -> np.ndarray | None:
        """The last batch, which shows the augmentation."""
        if self.last_batch is None:
            return None
        images = list(self.last_batch[:32])
        return tile([images[k : k + 8] for k in range(0, len(images), 8)])

"""The losses of HyperReenact (eq. 2 and 3) over a batch in which some pairs have a goal and some have none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.stages.hyperreenact.estimators import GazeLoss, ShapeLoss
from training.stages.hyperreenact.faces import Faces
from training.stages.hyperreenact.options import HyperReenactOptions
from vivface.models import IdentityNetwork
from vivface.models.identity import feature_distance


@dataclass
class Pairs:
    """Who is driven by whom.

    Attributes:
        source, driver (`Faces`): Whose face, and whose pose and expression.
        goal (`Faces`): What the result has to look like, where that is known.
        cross (`torch.Tensor` of shape `(batch,)`, bool): Whether the driver is another person.
        known (`torch.Tensor` of shape `(batch,)`, bool): Whether the goal is known.
        weight (`torch.Tensor` of shape `(batch, 1, size, size)`, *optional*): Of the goal's pixels; None: all alike.
    """

    source: Faces
    driver: Faces
    goal: Faces
    cross: Tensor
    known: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.source)


@dataclass
class Terms:
    """What compares images.

    Args:
        options (`HyperReenactOptions`): Phase and weights.
        recognizer (`IdentityNetwork`): Tells people apart.
        perceptual (`nn.Module`, *optional*): Of `training.perceptual`; None for the recognizer's own feature maps.
        shape (`ShapeLoss`), gaze (`GazeLoss`): Of `estimators`.
    """

    options: HyperReenactOptions
    recognizer: IdentityNetwork
    perceptual: nn.Module | None
    shape: ShapeLoss
    gaze: GazeLoss

    def __call__(self, pairs: Pairs, image: Tensor) -> dict[str, Tensor]:
        """Weighted terms, 0-d each: sums over the pairs that they apply to, divided by the size of the batch.

        Args:
            pairs (`Pairs`): The batch.
            image (`torch.Tensor` of shape `(batch, 3, size, size)`): What was made of it, float32.
        """
        options, known = self.options, pairs.known
        share, terms = known.float().mean(), {}
        # Of a pair without a goal the driver's pose and expression are wanted, and nothing of its form.
        wanted = pairs.goal.where(known, pairs.driver)
        shown = wanted.shown(image)
        maps, embedding = self._recognize(shown)
        with torch.no_grad():
            person = self._recognize(pairs.source.where(pairs.cross, pairs.goal))[1]
        if known.any():
            goal = pairs.goal[known]
            terms["pixel"] = options.pixel * share * _pixel_distance(pairs, image)
            if self.perceptual is None:
                with torch.no_grad():
                    expected = self._recognize(goal)[0]
                distance = feature_distance([each[known] for each in maps], expected)
            else:
                distance = self.perceptual(image[known], goal.image).float()
            terms["features"] = options.features * share * distance
        terms["identity"] = options.identity * (1.0 - (embedding * person).sum(1)).mean()
        if options.gaze > 0:
            terms["gaze"] = options.gaze * (self.gaze(shown, wanted) * known).mean()
        if options.shape > 0 and options.phase != "inversion":
            terms["shape"] = options.shape * self.shape(shown, wanted, known).mean()
        return terms

    def _recognize(self, faces: Faces) -> tuple[list[Tensor], Tensor]:
        """Feature maps of the recognizer in its crop, and embeddings `(batch, dim)` in float32."""
        maps = self.recognizer.features(faces.of_identity(self.recognizer))
        return maps, self.recognizer.read(maps).float()


def _pixel_distance(pairs: Pairs, image: Tensor) -> Tensor:
    """L1 of the pairs whose goal is known; with weights, their weighted mean."""
    difference = (image[pairs.known] - pairs.goal.image[pairs.known]).abs().mean(1, keepdim=True)
    if pairs.weight is None:
        return difference.mean()
    weight = pairs.weight[pairs.known]
    return (difference * weight).sum() / weight.sum()

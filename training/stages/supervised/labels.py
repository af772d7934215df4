"""The ground truth of a batch of grids, as labels of `motion_labels`, and the weight of its pixels."""

from __future__ import annotations

from torch import Tensor

from training.data import region_weights
from training.ground_truth import motion_labels
from training.stages.supervised.options import SupervisedOptions


def labels_of_targets(batch: dict[str, Tensor]) -> Tensor:
    """Labels of every motion of a batch of grids.

    Landmarks are those in the targets' crops, averaged over the identities: where the face is and how it moves, and
    hardly whose it is.

    Returns:
        `torch.Tensor` of shape `(grids, motions, labels)`.
    """
    return motion_labels(*(batch[f"target_{name}"].mean(1) for name in ("controls", "pose", "landmarks")))


def labels_of_driving(batch: dict[str, Tensor]) -> Tensor:
    """The same for every driving frame, in the order of `batch["driving"]`: `(frames, labels)`."""
    count = batch["driving"].shape[1]
    return labels_of_targets(batch)[:, None].expand(-1, count, -1, -1).flatten(0, 2)


def labels_of_sources(batch: dict[str, Tensor]) -> Tensor:
    """The same for every source, in the order of `batch["source"]`: `(sources, labels)`."""
    landmarks = batch["source_landmarks"].mean(1, keepdim=True).expand_as(batch["source_landmarks"])
    return motion_labels(batch["source_controls"], batch["source_pose"], landmarks).flatten(0, 1)


def pixel_weights(target: Tensor, regions: Tensor, options: SupervisedOptions) -> Tensor:
    """Importance of every pixel of the targets.

    Args:
        target (`torch.Tensor` of shape `(batch, 3, size, size)`): In [-1, 1].
        regions (`torch.Tensor` of shape `(batch, 4, size, size)`): Region maps in [0, 1].
        options (`SupervisedOptions`): `regions` and `contrast`.

    Returns:
        `torch.Tensor` of shape `(batch, 1, size, size)`: With mean 1.
    """
    weight = region_weights(regions, 1.0, **options.regions)
    if options.contrast > 0:
        weight = weight * contrast_gain(target, regions) ** options.contrast
    return weight / weight.mean()


def contrast_gain(image: Tensor, regions: Tensor) -> Tensor:
    """Factor that brings the contrast of a face to the mean of the batch.

    Args:
        image (`torch.Tensor` of shape `(batch, 3, size, size)`): In [-1, 1].
        regions (`torch.Tensor` of shape `(batch, 4, size, size)`): Region maps, the face first.

    Returns:
        `torch.Tensor` of shape `(batch, 1, 1, 1)`: In [0.5, 3].
    """
    face, grey = regions[:, :1], image.mean(1, keepdim=True)
    area = face.sum((1, 2, 3), keepdim=True).clamp_min(1.0)
    mean = (face * grey).sum((1, 2, 3), keepdim=True) / area
    std = ((face * (grey - mean).square()).sum((1, 2, 3), keepdim=True) / area).sqrt().clamp_min(1e-3)
    return (std.mean() / std).clamp(0.5, 3.0)

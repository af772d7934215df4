"""dK: how differently the keypoints of driver and result move from frame to frame (Video2StyleGAN, appendix E)."""

from __future__ import annotations

from torch import Tensor

from vivface.metrics.average import Average


def keypoint_distance(driving: Tensor, driving_before: Tensor, result: Tensor, result_before: Tensor) -> Tensor:
    """Mean L2 distance of the points' displacements.

    Positions would compare the shapes of two people's faces, so displacements are taken.

    Args:
        driving, driving_before, result, result_before (`torch.Tensor` of shape `(batch, points, 2)`): Landmarks as
            fractions of the crop, of frames and of the frames before them.

    Returns:
        `torch.Tensor` of shape `(batch,)`.
    """
    moved = (driving.double() - driving_before.double()) - (result.double() - result_before.double())
    return moved.norm(dim=2).mean(dim=1)


class KeypointDistance(Average):
    """Streaming `keypoint_distance`: holds the landmarks of one frame."""

    def __init__(self):
        super().__init__()
        self._before: tuple[Tensor, Tensor] | None = None

    def reset(self) -> None:
        """The next frame does not follow the last one."""
        self._before = None

    def update(self, driving: Tensor, result: Tensor) -> Tensor | None:
        """Take the landmarks `(points, 2)` of the next frame in; its value `(1,)`, None of a first frame."""
        before, self._before = self._before, (driving, result)
        if before is None:
            return None
        return self.add(keypoint_distance(driving[None], before[0][None], result[None], before[1][None]))

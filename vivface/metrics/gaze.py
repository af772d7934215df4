"""Gaze error: distance of the gaze directions of driver and result."""

from torch import Tensor

from vivface.metrics.average import Average


def gaze_error(gaze: Tensor, target: Tensor) -> Tensor:
    """L2 distance of yaw and pitch `(batch, 2)`, in their unit: `(batch,)`."""
    if gaze.shape != target.shape or gaze.ndim != 2 or gaze.shape[1] != 2:
        raise ValueError(
            f"`gaze` and `target` have shapes {tuple(gaze.shape)} and {tuple(target.shape)}; expected (batch, 2)."
        )
    return (gaze.double() - target.double()).norm(dim=1)


class GazeError(Average):
    """Streaming `gaze_error`."""

    def update(self, gaze: Tensor, target: Tensor) -> Tensor:
        """Take gaze directions in; returns their distances `(batch,)`."""
        return self.add(gaze_error(gaze, target))

"""Jitter: trembling of a video's landmarks."""

from __future__ import annotations

from collections import deque

from torch import Tensor

from vivface.metrics.average import Average


def jitter(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    """Mean length of the second difference of landmarks `(batch, points, 2)` of three frames in a row: `(batch,)`."""
    return (after.double() - 2 * middle.double() + before.double()).norm(dim=2).mean(dim=1)


class Jitter(Average):
    """Streaming `jitter`: holds the landmarks of two frames."""

    def __init__(self):
        super().__init__()
        self._held: deque[Tensor] = deque(maxlen=2)

    def reset(self) -> None:
        """The next frame does not follow the last one."""
        self._held.clear()

    def update(self, landmarks: Tensor) -> Tensor | None:
        """Take the landmarks `(points, 2)` of the next frame in; its value `(1,)`, None of the first two frames."""
        value = None
        if len(self._held) == 2:
            value = self.add(jitter(self._held[0][None], self._held[1][None], landmarks[None]))
        self._held.append(landmarks)
        return value

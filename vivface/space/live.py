"""Drive a portrait by a camera, frame by frame."""

import time
from collections import deque

import numpy as np
import torch

from vivface.editing import AttributeDirections
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.faces.smoothing import QuadStabilizer
from vivface.faces.tracking import FaceTracker
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.codes import IdentityCode

RATE_WINDOW = 2.0  # seconds over which the frame rate is measured


class LiveDriver:
    """One portrait that follows one camera.

    Frames are made one at a time, each from the newest camera frame; whoever calls drops the frames that came in
    between, so the picture never lags by more than one frame.

    Args:
        pipeline (`VivFacePipeline`): makes the frames.
        identity (`IdentityCode`): whose face.
        directions (`AttributeDirections`): of the checkpoint.
        edits (`dict`): amounts by name.
        refine (`bool`): second stage, when the checkpoint has one.
        relative (`bool`): follow changes since the first frame only.
    """

    def __init__(
        self,
        pipeline: VivFacePipeline,
        identity: IdentityCode,
        directions: AttributeDirections,
        edits: dict[str, float],
        refine: bool = False,
        relative: bool = False,
    ):
        self.pipeline = pipeline
        self.identity = directions.edit_identity(pipeline.generator, identity, edits)
        # The edit of the motion is what it adds to any code: the difference that it makes to the source's own.
        self._offset = self.identity.motion - identity.motion  # (1, motion_codes, style_dim)
        self.refine = refine
        self.relative = relative
        self._tracker = FaceTracker(pipeline.backend)
        self._stabilizer = QuadStabilizer(pipeline.config.crop)
        self._first: torch.Tensor | None = None
        self._picture: np.ndarray | None = None
        self._began = time.monotonic()
        self._made: deque[float] = deque()

    @torch.no_grad()
    def update(self, image: np.ndarray) -> tuple[np.ndarray, bool]:
        """The portrait as a camera frame moves it.

        Args:
            image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.

        Returns:
            The frame, uint8 RGB, and whether a face was seen: without one the last frame stays.
        """
        tracked = self._tracker.update(image)
        if tracked.found:
            seconds = time.monotonic() - self._began
            quad = self._stabilizer.update(ffhq_quad(tracked.landmarks), seconds, cut=tracked.redetected)
            self._picture = self._render(crop_quad(image, quad, self.pipeline.config.image_size))
        elif self._picture is None:
            self._picture = self.pipeline.neutral(self.identity)
        now = time.monotonic()
        self._made.append(now)
        while self._made[0] < now - RATE_WINDOW:
            self._made.popleft()
        return self._picture, tracked.found

    @property
    def fps(self) -> float:
        """Frames made per second, lately."""
        if len(self._made) < 2:
            return 0.0
        return (len(self._made) - 1) / max(self._made[-1] - self._made[0], 1e-3)

    def _render(self, crop: np.ndarray) -> np.ndarray:
        encoder = self.pipeline.encoder
        image = torch.from_numpy(crop).to(encoder.device).permute(2, 0, 1)[None]
        image = (image.to(torch.float32) / 127.5 - 1).to(encoder.dtype)
        code = encoder(image, identity=False, memory=False).motion  # (1, motion_codes, style_dim)
        self._first = code if self._first is None else self._first
        code = self.identity.motion + code - self._first if self.relative else code + self._offset
        return to_picture(self.pipeline.generate(self.identity, code, self.refine))


def to_picture(images: torch.Tensor) -> np.ndarray:
    """The first of a batch of images in [-1, 1] as uint8 RGB `(height, width, 3)`."""
    levels = (images[0].float().clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()

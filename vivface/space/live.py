"""Drive a portrait with a camera, frame by frame."""

import time
from collections import deque

import numpy as np
import torch

from vivface.editing import AttributeDirections, TimedEdits
from vivface.errors import OptionError
from vivface.faces.tracking import FaceTracker
from vivface.media.tensors import to_images
from vivface.pipelines.base import ReenactmentPipeline
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.driving import SteadyCrop
from vivface.reenactment.rendering import photo_edit
from vivface.reenactment.steadying import CausalSteadying
from vivface.runtime import compute_slot
from vivface.warping.framing import Framing, frame_size
from vivface.warping.moving_photo import MovingPhoto
from vivface.warping.parts import Parts
from vivface.warping.retargeting import MOST_REST_FRAMES, REST_FRAMES, Rest, rest_is_seen

LIVE_SIZE = 512  # largest width and height of the moving photograph, pixels
RATE_WINDOW = 2.0  # seconds over which the frame rate is measured


class LiveDriver:
    """One portrait that follows one camera.

    Frames are made one at a time, each from the newest camera frame; whoever calls drops the frames that came in
    between, so the portrait never lags by more than one frame.

    Args:
        pipeline (`ReenactmentPipeline`): Makes the frames.
        identity (`IdentityCode`): Whose face.
        directions (`AttributeDirections`): Of the checkpoint.
        edits (`dict`): Amounts by name.
        refine (`bool`): Second stage, if the checkpoint has one.
        motion_mode (`str`): `"relative"` follows changes since the first frame only.
        parts (`Parts`, *optional*): Strengths of the parts of the motion, for a photograph that moves itself.

    Raises:
        OptionError: If parts are asked of the generator's images.
    """

    def __init__(
        self,
        pipeline: ReenactmentPipeline,
        identity: IdentityCode,
        directions: AttributeDirections,
        edits: dict[str, float],
        refine: bool = False,
        motion_mode: str = "absolute",
        parts: Parts | None = None,
    ):
        self.pipeline = pipeline
        self.identity = directions.edit_identity(pipeline.generator, identity, edits)
        # What the edit adds to any motion code: the difference that it makes to the source's own.
        self._offset = self.identity.motion - identity.motion  # (1, motion_codes, style_dim)
        self.refine = refine
        self.motion_mode = motion_mode
        self._tracker = FaceTracker(pipeline.backend, states=False)
        self._cut = SteadyCrop(pipeline.motion_crop, pipeline.motion_size)
        self._photo = None
        if pipeline.offers_detail and identity.points is not None:
            self._photo = _LivePhoto(pipeline, identity, directions, edits, motion_mode, refine, parts)
        elif parts is not None and parts.changes:
            raise OptionError("Parts of the motion have strengths of their own only where the photograph itself moves.")
        self._first: torch.Tensor | None = None
        self._image: np.ndarray | None = None
        self._began = time.monotonic()
        self._made: deque[float] = deque()

    @torch.no_grad()
    def update(self, image: np.ndarray) -> tuple[np.ndarray, bool]:
        """The portrait as a camera frame moves it.

        Args:
            image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.

        Returns:
            The frame, uint8 RGB, and whether a face was found: without one the last frame stays, and before the first
            the portrait keeps its own expression.
        """
        tracked = self._tracker.update(image)
        if tracked.found:
            seconds = time.monotonic() - self._began
            if self._photo is not None:
                self._cut.follow(tracked, seconds)
                points = self._cut.points(image, tracked)
                self._image = self._photo.update(points, seconds, tracked.redetected)
            else:
                self._image = self._follow(self._cut(image, tracked, seconds))
        elif self._image is None:
            self._image = self._generate(self.identity.motion) if self._photo is None else self._photo.still
        now = time.monotonic()
        self._made.append(now)
        while self._made[0] < now - RATE_WINDOW:
            self._made.popleft()
        return self._image, tracked.found

    @property
    def fps(self) -> float:
        """Frames made per second over the last two seconds."""
        if len(self._made) < 2:
            return 0.0
        return (len(self._made) - 1) / max(self._made[-1] - self._made[0], 1e-3)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the portrait and its last frame hold."""
        return self.identity.nbytes + (0 if self._image is None else self._image.nbytes)

    def _follow(self, crop: np.ndarray) -> np.ndarray:
        code = self.pipeline.encode_crops([crop])  # (1, *code_shape)
        self._first = code if self._first is None else self._first
        if self.motion_mode == "relative":
            code = self.identity.motion + code - self._first
        else:
            code = code + self._offset
        return self._generate(code)

    def _generate(self, code: torch.Tensor) -> np.ndarray:
        with compute_slot(self.pipeline.device):
            return to_images(self.pipeline.generate(self.identity, code, self.refine))[0]


class _LivePhoto:
    """The photograph that follows a camera; the face at rest is that of the first frames."""

    def __init__(
        self,
        pipeline: ReenactmentPipeline,
        identity: IdentityCode,
        directions: AttributeDirections,
        edits: dict[str, float],
        motion_mode: str,
        refine: bool,
        parts: Parts | None,
    ):
        edit = None
        if any(edits.values()):
            edit = photo_edit(pipeline, identity, TimedEdits(directions, edits, pipeline.generator), refine)
        self._seen: list[np.ndarray] = []
        self._steadying = CausalSteadying()
        framing = Framing.within(identity.photo, identity.quad, identity.points)
        self._moving = MovingPhoto(
            identity.photo,
            identity.quad,
            identity.points,
            min(frame_size(identity.quad, framing), LIVE_SIZE),
            Rest.of(identity.points[None]),
            relative=motion_mode == "relative",
            crops=pipeline.crops,
            edit=edit,
            framing=framing,
            parts=parts,
        )
        self.still = self._moving(None)

    def update(self, points: np.ndarray | None, seconds: float, anew: bool) -> np.ndarray:
        """The frame for the points of a camera frame's face, seen so many seconds after the beginning.

        `anew` says that the face had to be searched.
        """
        if points is None:
            return self.still
        points = self._steadying.update(points, seconds, anew)
        count = len(self._seen)
        if count < REST_FRAMES or (count < MOST_REST_FRAMES and not rest_is_seen(np.stack(self._seen))):
            self._seen.append(points)
            self._moving = self._moving.with_rest(Rest.of(np.stack(self._seen)))
        return self._moving(points, seconds)

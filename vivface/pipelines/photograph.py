"""A photograph that moves without any network of a checkpoint: none is loaded, and diffusers is not even imported.

What moves it are the points of two faces, which the small networks of `vivface.faces` read. So a command that asks for
nothing else need not wait for the rest.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Self

import torch

from vivface.engines import Engine, get_engine
from vivface.faces.alignment import to_crop
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import LandmarkBackend
from vivface.hub.index import locate, read_index
from vivface.hub.registry import PHOTOGRAPH_PIPELINES
from vivface.media.images import load_image
from vivface.pipelines.checks import as_seconds, check_counts
from vivface.reenactment.codes import BATCH_SIZE
from vivface.reenactment.motion_library import find_motion
from vivface.reenactment.portrait import Portrait, PortraitPhoto, source_name
from vivface.reenactment.rendering import MotionMode, RenderOptions
from vivface.reenactment.result import ReenactmentResult
from vivface.reenactment.video_motion import VideoMotion
from vivface.warping.background import KEEP, Background
from vivface.warping.parts import AS_DRIVEN, Parts


class PhotographPipeline:
    """Moves photographs as a `VivFacePipeline` does with detail and without edits, frame by frame the same.

    Args:
        backend (`LandmarkBackend`): Finds faces and their landmarks.
        image_size (`int`), crop (`str`): Of the checkpoint, see `VivFacePipeline`.
    """

    # What `FrameMaker` and `MotionReader` ask of a system: here there are neither images nor codes.
    device = torch.device("cpu")
    default_batch_size = BATCH_SIZE
    pose_subspace = None
    code_shape: tuple[int, ...] = ()
    fingerprint: list[float] = []

    def __init__(self, backend: LandmarkBackend, image_size: int, crop: str):
        self.backend = backend
        self.output_size = self.motion_size = image_size
        self.motion_crop, self.crops = crop, (crop, crop)

    @classmethod
    def for_checkpoint(
        cls,
        checkpoint: str | os.PathLike | None = None,
        *,
        detail: bool | None = None,
        device: str = "cpu",
        engine: str = "torch",
        detector: str = "auto",
    ) -> Self | None:
        """What moves photographs in place of a checkpoint's own pipeline.

        Args:
            checkpoint (`str` or `os.PathLike`, *optional*): Folder or Hub id; the bundled checkpoint by default.
            detail (`bool`, *optional*): Whether to show the photograph; by default as the checkpoint says.
            device, detector, engine (`str`): As for the pipeline.

        Returns:
            `PhotographPipeline`: None where the checkpoint shows its own images, or cuts faces in a way of its own.

        Raises:
            CheckpointError: If the checkpoint is missing, or its index damaged.
            OptionError: If there is no such detector or engine.
            BackendError: If it is not installed.
        """
        index = read_index(locate(checkpoint))
        shows = index.get("detail", False) if detail is None else detail
        if not shows or index["_class_name"] not in PHOTOGRAPH_PIPELINES:
            return None
        computing = get_engine(engine)
        backend = get_backend(detector, device, computing if isinstance(computing, Engine) else None)
        return cls(backend, index.get("image_size", 256), index.get("crop", "ffhq"))

    def __call__(
        self,
        source: str | os.PathLike | PortraitPhoto,
        driving: str | os.PathLike,
        *,
        refine: bool = True,
        paste_back: bool = False,
        motion_mode: MotionMode = "absolute",
        strength: float = 1.0,
        batch_size: int | None = None,
        size: int | None = None,
        background: Background = KEEP,
        parts: Parts = AS_DRIVEN,
        face: int | None = None,
        driving_face: int | None = None,
        start: float | Fraction = 0,
        duration: float | Fraction | None = None,
    ) -> ReenactmentResult:
        """Move a photograph by a video, lazily; arguments and errors as for `ReenactmentPipeline`.

        A `PortraitPhoto` of `read_photo` serves any number of videos.
        """
        options = RenderOptions(refine, paste_back, motion_mode, strength, batch_size, True, size, background, parts)
        check_counts(face=face, driving_face=driving_face)
        start, duration = as_seconds("start", start), None if duration is None else as_seconds("duration", duration)
        motion = VideoMotion.open(find_motion(driving), self, driving_face, start, duration)
        photo = source if isinstance(source, PortraitPhoto) else self.read_photo(source, face)
        return ReenactmentResult(self, photo, motion, options)

    def read_photo(self, source: str | os.PathLike, face: int | None = None) -> PortraitPhoto:
        """Find the face of a photograph.

        Raises:
            MediaError: If the image cannot be read.
            NoFaceError: If it shows no face, or not the asked one.
        """
        found = Portrait.find(load_image(source), self.backend, face, source_name(source), self.motion_size)
        points = None if found.points is None else to_crop(found.points, found.quad)
        return PortraitPhoto(found.image, found.quad, points, found.warnings, Path(source))

    def progress_bar(self, *, total: int) -> _NoBar:
        """A bar that shows nothing."""
        return _NoBar()


class _NoBar:
    def update(self) -> None:
        pass

    def close(self) -> None:
        pass

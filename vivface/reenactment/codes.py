"""What a portrait and a driving video are reduced to: an identity code and a stream of motion codes."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from vivface.errors import OptionError
from vivface.reenactment.progress import OnProgress

if TYPE_CHECKING:
    from vivface.warping.retargeting import Rest

MOTION_SUFFIX = IDENTITY_SUFFIX = ".safetensors"
BATCH_SIZE = 8


@dataclass
class IdentityCode:
    """Everything of a portrait that stays the same from frame to frame.

    Attributes:
        w_plus (`torch.Tensor` of shape `(1, num_latents, style_dim)`): Identity code W in W+.
        styles (list of `torch.Tensor` of shape `(1, channels)`): A(W) in StyleSpace, one per modulated layer, in call
            order.
        motion (`torch.Tensor` of shape `(1, *code_shape)`): The source's own motion code.
        reference (`torch.Tensor` of shape `(1, 3, image_size, image_size)`): The aligned source, RGB in [-1, 1].
        photo (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB, the image that results are pasted into.
        quad (`numpy.ndarray` of shape `(4, 2)`): Corners of the crop in `photo`, pixels, counter-clockwise from the
            top left.
        memory (`torch.Tensor` of shape `(1, ...)`, *optional*): What a system reads of the source beside its codes;
            for ViVFace `(1, tokens, style_dim)`, which the transformer attends to.
        generator (`torch.nn.Module`, *optional*): A copy tuned to this source; the pipeline's own if None.
        points (`numpy.ndarray` of shape `(478, 3)`, *optional*): Of the face in the crop, see `vivface.warping.mesh`;
            what the photograph is moved by.
        fingerprint (list of `float`): A few weights of the network that read the codes, to recognise it by.
        warnings (list of `str`): What a user should know about this source.
        file (`pathlib.Path`, *optional*): The file that it was read from, an ingredient of results.
    """

    w_plus: Tensor
    styles: list[Tensor]
    motion: Tensor
    reference: Tensor
    photo: np.ndarray
    quad: np.ndarray
    memory: Tensor | None = None
    generator: nn.Module | None = None
    points: np.ndarray | None = None
    fingerprint: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    file: Path | None = None

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> IdentityCode:
        """The same code on another device or in another precision.

        Args:
            device (`torch.device` or `str`, *optional*): Where to.
            dtype (`torch.dtype`, *optional*): Floating-point type.

        Returns:
            `IdentityCode`: This very one if nothing changes.
        """
        if (device is None or torch.device(device) == self.w_plus.device) and dtype in (None, self.w_plus.dtype):
            return self

        def moved(value: object) -> object:
            if isinstance(value, Tensor):
                return value.to(device=device, dtype=dtype)
            if isinstance(value, nn.Module):
                value = copy.deepcopy(value)
                value = value if device is None else value.to(device)
                return value if dtype is None else value.to(dtype)
            if isinstance(value, list) and value and isinstance(value[0], Tensor):
                return [moved(item) for item in value]
            return value

        return replace(self, **{item.name: moved(getattr(self, item.name)) for item in fields(self)})

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the code holds, with its image and its generator."""
        tensors = [self.w_plus, *self.styles, self.motion, self.reference]
        tensors += [] if self.memory is None else [self.memory]
        if self.generator is not None:
            tensors += [*self.generator.parameters(), *self.generator.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + self.photo.nbytes + self.quad.nbytes

    def save(self, path: str | os.PathLike) -> Path:
        """Write the code, its image and, if there is one, its generator to a safetensors file.

        Raises:
            MediaError: If the file cannot be written.
        """
        from vivface.reenactment.identity_file import save_identity

        return save_identity(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> IdentityCode:
        """Read a file that `save` wrote.

        Raises:
            MediaError: If the file is missing, damaged, or no identity file.
        """
        from vivface.reenactment.identity_file import load_identity

        return load_identity(path)


@dataclass
class MotionBatch:
    """Motion codes of a few consecutive frames.

    Attributes:
        codes (`torch.Tensor` of shape `(batch, *code_shape)`, *optional*): Motion codes as they were read off the
            driving frames; None where points alone were asked for.
        times, durations (lists of `Fraction`): When each frame is shown and for how long, seconds.
        found (list of `bool`): False where no face was seen and the code is held over from another frame.
        images (list of `numpy.ndarray`, *optional*): The driving frames, uint8 RGB, if they were asked for.
        points (`numpy.ndarray` of shape `(batch, 478, 3)`, *optional*): Of the driver's face in its crops, see
            `vivface.warping.mesh`; None where they were not saved.
        quads (`numpy.ndarray` of shape `(batch, 4, 2)`, *optional*): Where the crops lie in the frames, pixels of the
            video; None if there is no video.
    """

    codes: Tensor | None
    times: list[Fraction]
    durations: list[Fraction]
    found: list[bool]
    images: list[np.ndarray] | None = None
    points: np.ndarray | None = None
    quads: np.ndarray | None = None


class MotionCodes(ABC):
    """The motion of a video as a lazy stream of codes; every iteration reads the video, or the saved file, again.

    Args:
        name (`str`): What the codes are read from, for messages.
        fps (`Fraction`): Frames per second.
        time_base (`Fraction`): Unit of the timestamps in seconds.
        frames (`int`, *optional*): Number of frames; an estimate for a video, None if unknown.
        seconds (`Fraction`, *optional*): Length; as the file declares for a video, None if unknown.
        code_shape (`tuple[int, ...]`): Shape of the code of one frame, for ViVFace `(motion_codes, style_dim)`.
        fingerprint (list of `float`): A few weights of the network that reads the codes, to recognise it by.
        video (`pathlib.Path`, *optional*): The driving video, whose audio a result keeps.
        video_size (`tuple[int, int]`, *optional*): Width and height in pixels of the driving frames in `images`.
        start (`Fraction`, *optional*, defaults to 0): Where in the video reading starts, seconds; times count from
            there.
        duration (`Fraction`, *optional*): How much of the video is read at most, seconds; None for all.

    Attributes:
        warnings (list of `str`): What a user should know; complete once the stream was read.
        has_points (`bool`): Whether batches come with the points of the driver's face.
        rest (`Rest`, *optional*): The driver's face at rest, if it need not be estimated from the first frames.
    """

    has_points = False
    rest: Rest | None = None

    def __init__(
        self,
        *,
        name: str,
        fps: Fraction,
        time_base: Fraction,
        frames: int | None,
        code_shape: tuple[int, ...],
        fingerprint: list[float],
        seconds: Fraction | None = None,
        video: Path | None = None,
        video_size: tuple[int, int] | None = None,
        start: Fraction = Fraction(0),
        duration: Fraction | None = None,
    ):
        self.name = name
        self.fps = fps
        self.time_base = time_base
        self.frames = frames
        self.seconds = seconds
        self.code_shape = code_shape
        self.fingerprint = fingerprint
        self.video = video
        self.video_size = video_size
        self.start = start
        self.duration = duration
        self.warnings: list[str] = []

    @abstractmethod
    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """Read the stream from its start.

        Args:
            batch_size (`int`, *optional*, defaults to 8): Frames a batch; the last one may have fewer.
            images (`bool`, *optional*, defaults to False): Whether to return the driving frames, too.
            on_progress (callable, *optional*): Told while the first face is searched; may raise to stop.

        Raises:
            MediaError: If the video or file cannot be read.
            NoFaceError: If no frame of the video shows a face.
        """

    def __iter__(self) -> Iterator[MotionBatch]:
        return self.batches()

    def codes_only(self) -> MotionCodes:
        """The same motion for those who need no points: batches may come without them, and sooner."""
        return self

    def points_only(self) -> MotionCodes:
        """The same motion for those who need no codes, only points: batches may come without codes, and sooner."""
        return self

    def map(self, function: Callable[[Iterator[MotionBatch]], Iterator[MotionBatch]]) -> MotionCodes:
        """The same motion with its stream passed through a function, as lazy as it was.

        Args:
            function (callable `iterator of MotionBatch -> iterator of MotionBatch`): Called at the start of every
                iteration; batches keep their frames and times.
        """
        return MappedMotion(self, function)

    def crops(self, most: int, on_progress: Callable[[], None] | None = None) -> list[np.ndarray]:
        """Aligned faces of evenly spaced frames.

        Args:
            most (`int`): Number of frames; fewer if the video has fewer.
            on_progress (callable, *optional*): Called without arguments several times a second; may raise to stop.

        Returns:
            list of `numpy.ndarray` of shape `(image_size, image_size, 3)`: uint8 RGB.

        Raises:
            OptionError: If the codes come from a file, which has no images.
            MediaError: If the video cannot be read.
            NoFaceError: If no frame shows a face.
        """
        raise OptionError(
            f"This tuning looks at the driving video, but '{self.name}' is a motion file: give the video."
        )

    def save(self, path: str | os.PathLike) -> Path:
        """Write all codes to a safetensors file as they come; see `vivface.reenactment.motion_file`.

        Raises:
            MediaError: If the file cannot be written.
        """
        from vivface.reenactment.motion_file import MotionRecorder

        with MotionRecorder(self, path) as recorder:
            for batch in self:
                recorder.add(batch)
        return Path(path)

    @staticmethod
    def load(path: str | os.PathLike) -> MotionCodes:
        """Open a file that `save` wrote; codes are read as they are iterated.

        Raises:
            MediaError: If the file is missing, damaged, or no motion file.
        """
        from vivface.reenactment.motion_file import SavedMotion

        return SavedMotion(path)


class MappedMotion(MotionCodes):
    """A motion whose stream passes through a function; see `MotionCodes.map`."""

    def __init__(self, motion: MotionCodes, function: Callable[[Iterator[MotionBatch]], Iterator[MotionBatch]]):
        self._motion = motion
        self._function = function
        vars(self).update({name: value for name, value in vars(motion).items() if not name.startswith("_")})

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        return self._function(self._motion.batches(batch_size, images, on_progress))

    def codes_only(self) -> MotionCodes:
        return MappedMotion(self._motion.codes_only(), self._function)

    def crops(self, most: int, on_progress: Callable[[], None] | None = None) -> list[np.ndarray]:
        return self._motion.crops(most, on_progress)


class StillMotion(MotionCodes):
    """One frame of a portrait's own motion.

    Args:
        identity (`IdentityCode`): The portrait.
    """

    def __init__(self, identity: IdentityCode):
        super().__init__(
            name="the portrait's own motion",
            fps=Fraction(1),
            time_base=Fraction(1),
            frames=1,
            code_shape=tuple(identity.motion.shape[1:]),
            fingerprint=identity.fingerprint,
        )
        self._identity = identity

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """One batch of one frame."""
        points = self._identity.points
        points = None if points is None else points[None]
        yield MotionBatch(self._identity.motion, [Fraction(0)], [Fraction(1)], [True], points=points)

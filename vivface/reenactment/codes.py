"""What a portrait and a driving video are reduced to: an identity code and a stream of motion codes."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from vivface.errors import MediaError
from vivface.files import check_output, complete_file
from vivface.models.stylegan2 import StyleGAN2Generator

MOTION_FORMAT = "vivface-motion-1"
MOTION_SUFFIX = ".safetensors"


@dataclass
class IdentityCode:
    """Everything of a portrait that stays the same from frame to frame.

    Attributes:
        w_plus (`torch.Tensor` of shape `(1, num_latents, style_dim)`): identity code W.
        styles (list of `torch.Tensor` of shape `(1, channels)`): A(W), one per modulated layer, in call order.
        memory (`torch.Tensor` of shape `(1, tokens, style_dim)`): what the transformer reads of the source.
        motion (`torch.Tensor` of shape `(1, motion_codes, style_dim)`): the source's own generic motion code.
        reference (`torch.Tensor` of shape `(1, 3, image_size, image_size)`): the aligned source, RGB in [-1, 1].
        photo (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB, the picture that results are pasted into.
        quad (`numpy.ndarray` of shape `(4, 2)`): corners of the crop in `photo`, pixels, counter-clockwise from the
            top left.
        generator (`StyleGAN2Generator`, *optional*): a copy adapted to this source; the pipeline's own if None.
        warnings (list of `str`): what a user should know about this source.
    """

    w_plus: torch.Tensor
    styles: list[torch.Tensor]
    memory: torch.Tensor
    motion: torch.Tensor
    reference: torch.Tensor
    photo: np.ndarray
    quad: np.ndarray
    generator: StyleGAN2Generator | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass
class MotionBatch:
    """Motion codes of a few consecutive frames.

    Attributes:
        codes (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): generic motion codes.
        times, durations (lists of `Fraction`): when each frame is shown and for how long, seconds.
        found (list of `bool`): False where no face was seen and the code is held over from another frame.
        images (list of `numpy.ndarray`, *optional*): the driving frames, uint8 RGB, when they were asked for.
    """

    codes: torch.Tensor
    times: list[Fraction]
    durations: list[Fraction]
    found: list[bool]
    images: list[np.ndarray] | None = None


class MotionCodes:
    """The motion of a video as a lazy stream of codes; iterating reads the video, or the saved file, anew.

    Args:
        batches (callable `(batch_size, images) -> iterator of MotionBatch`): opens the stream.
        name (`str`): what the codes were read from, for messages.
        fps (`Fraction`): frames per second.
        time_base (`Fraction`): unit of the timestamps in seconds.
        frames (`int`, *optional*): number of frames; an estimate for a video, None if unknown.
        code_shape (`tuple`): `(motion_codes, style_dim)`.
        encoder (list of `float`): a few weights of the encoder that made the codes, to recognise it by.
        video (`Path`, *optional*): the driving video, whose sound a result keeps.
        video_size (`tuple`, *optional*): width and height in pixels of the driving frames that are given on.
        start (`Fraction`): where in the video reading starts, seconds; times count from there.
        duration (`Fraction`, *optional*): how much of the video is read at most, seconds; None for all.
        warnings (list of `str`, *optional*): filled while the stream is read.
    """

    batch_size = 8

    def __init__(
        self,
        batches: Callable[[int, bool], Iterator[MotionBatch]],
        *,
        name: str,
        fps: Fraction,
        time_base: Fraction,
        frames: int | None,
        code_shape: tuple[int, int],
        encoder: list[float],
        video: Path | None = None,
        video_size: tuple[int, int] | None = None,
        start: Fraction = Fraction(0),
        duration: Fraction | None = None,
        warnings: list[str] | None = None,
    ):
        self.batches = batches
        self.name = name
        self.fps = fps
        self.time_base = time_base
        self.frames = frames
        self.code_shape = code_shape
        self.encoder = encoder
        self.video = video
        self.video_size = video_size
        self.start = start
        self.duration = duration
        self.warnings = [] if warnings is None else warnings

    def __iter__(self) -> Iterator[MotionBatch]:
        return self.batches(self.batch_size, False)

    def save(self, path: str | os.PathLike) -> Path:
        """Write all codes to a safetensors file: tensor `codes` `(frames, motion_codes, style_dim)`, float32.

        The metadata holds `fps` and `time_base` as fractions; in units of the time base, `timestamps` of all frames
        and the `end` of the last one; and the numbers of the frames in which no face was seen (`missing`). Codes go
        to the disk as they come.

        Raises:
            MediaError: If the file cannot be written.
        """
        with MotionRecorder(self, path) as recorder:
            for batch in self:
                recorder.add(batch)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "MotionCodes":
        """Open a file that `save` wrote; codes are read as they are iterated.

        Raises:
            MediaError: If the file is missing, damaged, or no motion file.
        """
        path = Path(path)
        if not path.is_file():
            raise MediaError(f"There is no motion file '{path}': give one that `vivface motion` or `save` wrote.")
        try:
            with safe_open(path, framework="pt") as file:
                info = file.metadata() or {}
                shape = file.get_slice("codes").get_shape() if "codes" in file.keys() else []
        except (SafetensorError, OSError) as error:
            raise MediaError(
                f"'{path}' is no readable motion file ({error}): give a safetensors file that `vivface motion` or "
                "`MotionCodes.save` wrote."
            ) from error
        try:
            fps, time_base = Fraction(info["fps"]), Fraction(info["time_base"])
            timestamps, encoder = _numbers(info["timestamps"], int), _numbers(info["encoder"], float)
            borders, missing = [*timestamps, int(info["end"])], set(_numbers(info["missing"], int))
            in_order = all(before < after for before, after in zip(borders, borders[1:], strict=False))
            sound = info["format"] == MOTION_FORMAT and fps > 0 and time_base > 0 and in_order
        except (KeyError, ValueError, ZeroDivisionError):
            sound = False
        if not (sound and len(shape) == 3 and shape[0] == len(timestamps) > 0):
            raise MediaError(
                f"'{path}' is a safetensors file but holds no motion codes with their timestamps: give one that "
                "`vivface motion` or `MotionCodes.save` wrote."
            )

        def batches(batch_size: int, images: bool) -> Iterator[MotionBatch]:
            with safe_open(path, framework="pt") as file:
                codes = file.get_slice("codes")
                for start in range(0, len(timestamps), batch_size):
                    rows = range(start, min(start + batch_size, len(timestamps)))
                    yield MotionBatch(
                        codes[rows.start : rows.stop],
                        times=[borders[row] * time_base for row in rows],
                        durations=[(borders[row + 1] - borders[row]) * time_base for row in rows],
                        found=[row not in missing for row in rows],
                    )

        return cls(
            batches,
            name=path.name,
            fps=fps,
            time_base=time_base,
            frames=shape[0],
            code_shape=(shape[1], shape[2]),
            encoder=encoder,
        )


class MotionRecorder:
    """Write motion codes to a file while they are used; the file appears when the `with` block ends well."""

    def __init__(self, motion: MotionCodes, path: str | os.PathLike):
        self.motion = motion
        self.path = Path(path)
        self._timestamps: list[int] = []
        self._missing: list[int] = []
        self._end = 0

    def __enter__(self) -> "MotionRecorder":
        check_output(self.path, (MOTION_SUFFIX,))
        self._data = tempfile.TemporaryFile(dir=self.path.parent)
        return self

    def add(self, batch: MotionBatch) -> None:
        codes = batch.codes.detach().to("cpu", torch.float32).contiguous()
        self._missing += [len(self._timestamps) + i for i, found in enumerate(batch.found) if not found]
        self._timestamps += [round(time / self.motion.time_base) for time in batch.times]
        last = round(batch.durations[-1] / self.motion.time_base)
        self._end = self._timestamps[-1] + max(last, 1)
        self._data.write(codes.numpy().astype("<f4").tobytes())

    def __exit__(self, kind, *_) -> None:
        with self._data:
            if kind is None:
                self._assemble()

    def _assemble(self) -> None:
        """safetensors: header length (8 bytes, little endian), JSON header, the tensor's bytes."""
        shape = [len(self._timestamps), *self.motion.code_shape]
        metadata = {
            "format": MOTION_FORMAT,
            "fps": str(self.motion.fps),
            "time_base": str(self.motion.time_base),
            "timestamps": json.dumps(self._timestamps),
            "end": str(self._end),
            "missing": json.dumps(self._missing),
            "encoder": json.dumps(self.motion.encoder),
            "source": self.motion.name,
        }
        tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * math.prod(shape)]}
        header = json.dumps({"__metadata__": metadata, "codes": tensor}).encode()
        header += b" " * (-len(header) % 8)
        self._data.seek(0)
        try:
            with complete_file(self.path) as temporary, open(temporary, "wb") as file:
                file.write(len(header).to_bytes(8, "little") + header)
                shutil.copyfileobj(self._data, file, 1 << 20)
        except OSError as error:
            raise MediaError(f"Cannot write '{self.path}': {error.strerror}.") from error


def _numbers(text: str, kind: type) -> list:
    """A JSON list of numbers of one kind."""
    numbers = json.loads(text)
    if not isinstance(numbers, list) or not all(type(number) is kind for number in numbers):
        raise ValueError(f"not a list of {kind.__name__}: {text[:40]}")
    return numbers

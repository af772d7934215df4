"""Motion codes on disk: one safetensors file, written and read as a stream.

The tensor `codes` has shape `(frames, *code_shape)`: float32, or float16 where a frame's code is a feature map. The
metadata holds `fps` and `time_base` as fractions; in units of the time base the `timestamps` of all frames and the
`end` of the last one; the numbers of the frames in which no face was seen (`missing`); and a few weights of the network
that read the codes (`encoder`). The tensor `points`, `(frames, 478, 3)`, holds the driver's face in its crops, see
`vivface.warping.mesh`: int16, in 8192ths of a crop; files of earlier versions have none.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from vivface.errors import MediaError
from vivface.files import check_output, complete_file
from vivface.reenactment.codes import BATCH_SIZE, MOTION_SUFFIX, MotionBatch, MotionCodes
from vivface.reenactment.progress import OnProgress
from vivface.warping.mesh import POINTS

MOTION_FORMAT = "vivface-motion-1"
HALF_FROM = 16_384  # numbers a frame from which they are stored in half precision
HALF_LARGEST = 65_504.0
MAX_INTEGER = 2**31 - 1  # of a fraction's two numbers, as video containers hold them
MAX_SECONDS = 10**6
MAX_FPS = 1000
POINTS_UNIT = 8192  # of a crop's side; int16 reaches four sides


class SavedMotion(MotionCodes):
    """The motion in a file that `MotionCodes.save` wrote; codes are read as they are iterated.

    Args:
        path (`str` or `os.PathLike`): A safetensors file.

    Raises:
        MediaError: If the file is missing, damaged, or no motion file.
    """

    def __init__(self, path: str | os.PathLike):
        path = Path(path)
        if not path.is_file():
            raise MediaError(f"There is no motion file '{path}': give one that `vivface motion` or `save` wrote.")
        try:
            with safe_open(path, framework="pt") as file:
                info = file.metadata() or {}
                names = set(file.keys())
                codes = file.get_slice("codes") if "codes" in names else None
                points = file.get_slice("points") if "points" in names else None
                shape, kind = ([], "") if codes is None else (codes.get_shape(), codes.get_dtype())
                whole = points is None or (
                    points.get_dtype() == "I16" and points.get_shape() == [*shape[:1], POINTS, 3]
                )
        except (SafetensorError, OSError) as error:
            raise MediaError(
                f"'{path}' is no readable motion file ({error}): give a safetensors file that `vivface motion` or "
                "`MotionCodes.save` wrote."
            ) from error
        try:
            fps, time_base = _fraction(info["fps"]), _fraction(info["time_base"])
            timestamps, fingerprint = _numbers(info["timestamps"], int), _numbers(info["encoder"], float)
            borders, missing = [*timestamps, int(info["end"])], set(_numbers(info["missing"], int))
            rising = all(before < after for before, after in zip(borders, borders[1:], strict=False))
            usable = info["format"] == MOTION_FORMAT and kind in ("F32", "F16", "BF16") and rising
            usable = usable and 0 < fps <= MAX_FPS and time_base > 0
            usable = usable and borders[0] >= 0 and borders[-1] * time_base <= MAX_SECONDS
        except (KeyError, ValueError, ZeroDivisionError, IndexError, RecursionError):
            usable = False
        if not (usable and whole and len(shape) >= 2 and shape[0] == len(timestamps) > 0):
            raise MediaError(
                f"'{path}' is a safetensors file but holds no motion codes with their timestamps: give one that "
                "`vivface motion` or `MotionCodes.save` wrote."
            )
        super().__init__(
            name=path.name,
            fps=fps,
            time_base=time_base,
            frames=shape[0],
            seconds=borders[-1] * time_base,
            code_shape=tuple(shape[1:]),
            fingerprint=fingerprint,
        )
        self._path = path
        self._borders = borders
        self._missing = missing
        self.has_points = points is not None

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """Read the codes in order; a file has no images, and nothing has to be searched."""
        borders, unit = self._borders, self.time_base
        with safe_open(self._path, framework="pt") as file:
            codes = file.get_slice("codes")
            points = file.get_slice("points") if self.has_points else None
            for start in range(0, self.frames, batch_size):
                rows = range(start, min(start + batch_size, self.frames))
                chunk = codes[rows.start : rows.stop].float()
                if not torch.isfinite(chunk).all():
                    raise MediaError(
                        f"The motion file '{self.name}' holds numbers that are not finite: extract the motion again."
                    )
                yield MotionBatch(
                    chunk,
                    times=[borders[row] * unit for row in rows],
                    durations=[(borders[row + 1] - borders[row]) * unit for row in rows],
                    found=[row not in self._missing for row in rows],
                    points=None if points is None else points[rows.start : rows.stop].numpy() / POINTS_UNIT,
                )


class MotionRecorder:
    """Write motion codes to a file while they are used; the file appears when the `with` block ends well.

    Args:
        motion (`MotionCodes`): Whose codes these are.
        path (`str` or `os.PathLike`): The `.safetensors` file to write.

    Raises:
        MediaError: If the file cannot be written.
    """

    def __init__(self, motion: MotionCodes, path: str | os.PathLike):
        self._motion = motion
        self._path = Path(path)
        self._timestamps: list[int] = []
        self._missing: list[int] = []
        self._end = 0
        self._half = math.prod(motion.code_shape) >= HALF_FROM

    def __enter__(self) -> "MotionRecorder":
        check_output(self._path, (MOTION_SUFFIX,))
        self._data, self._points = (tempfile.TemporaryFile(dir=self._path.parent) for _ in range(2))
        self._has_points = True
        return self

    def add(self, batch: MotionBatch) -> None:
        """Write the codes of the next frames."""
        unit = self._motion.time_base
        self._missing += [len(self._timestamps) + i for i, found in enumerate(batch.found) if not found]
        self._timestamps += [round(time / unit) for time in batch.times]
        self._end = self._timestamps[-1] + max(round(batch.durations[-1] / unit), 1)
        codes = batch.codes.detach().to("cpu", torch.float32).contiguous()
        if self._half:
            codes = codes.clamp(-HALF_LARGEST, HALF_LARGEST)
        self._data.write(codes.numpy().astype("<f2" if self._half else "<f4").tobytes())
        if batch.points is None:
            self._has_points = False
        else:
            points = np.clip(np.round(batch.points * POINTS_UNIT), -32768, 32767)
            self._points.write(points.astype("<i2").tobytes())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._data, self._points:
            if kind is None:
                self._assemble()

    def _assemble(self) -> None:
        """Write header length (8 bytes, little endian), JSON header and the tensor's bytes.

        By hand, since safetensors' own writer wants the whole tensor in memory.
        """
        motion, shape = self._motion, [len(self._timestamps), *self._motion.code_shape]
        metadata = {
            "format": MOTION_FORMAT,
            "fps": str(motion.fps),
            "time_base": str(motion.time_base),
            "timestamps": json.dumps(self._timestamps),
            "end": str(self._end),
            "missing": json.dumps(self._missing),
            "encoder": json.dumps(motion.fingerprint),
            "source": motion.name,
        }
        kind, size = ("F16", 2) if self._half else ("F32", 4)
        tensor = {"dtype": kind, "shape": shape, "data_offsets": [0, size * math.prod(shape)]}
        tensors, parts = {"codes": tensor}, [self._data]
        if self._has_points:
            end = tensor["data_offsets"][1]
            shape = [len(self._timestamps), POINTS, 3]
            tensors["points"] = {"dtype": "I16", "shape": shape, "data_offsets": [end, end + 2 * math.prod(shape)]}
            parts.append(self._points)
        header = json.dumps({"__metadata__": metadata, **tensors}).encode()
        header += b" " * (-len(header) % 8)
        try:
            with complete_file(self._path) as temporary, open(temporary, "wb") as file:
                file.write(len(header).to_bytes(8, "little") + header)
                for part in parts:
                    part.seek(0)
                    shutil.copyfileobj(part, file, 1 << 20)
        except OSError as error:
            raise MediaError(f"Cannot write '{self._path}': {error.strerror}.") from error


def _fraction(text: str) -> Fraction:
    """A fraction whose numbers a video container can hold."""
    value = Fraction(text)
    if max(abs(value.numerator), value.denominator) > MAX_INTEGER:
        raise ValueError(f"the numbers of {text} are too large")
    return value


def _numbers(text: str, kind: type) -> list:
    """A JSON list of finite numbers of one kind."""
    numbers = json.loads(text)
    if not isinstance(numbers, list) or not all(type(number) is kind and math.isfinite(number) for number in numbers):
        raise ValueError(f"not a list of {kind.__name__}: {text[:40]}")
    return numbers

"""A talking head as one identity latent and 35 numbers a frame: what it is, and its file (.vfc).

Oorloff and Yacoob, Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, sec. 3.1: head pose (yaw, pitch,
roll) and 32 values of a basis, 70 bytes a frame in half precision. The file is a safetensors file, described in
`docs/codec.md`; it is written by hand, since safetensors' own writer does not keep the order of the metadata, and the
same video has to give the same bytes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivface.errors import MediaError
from vivface.faces.alignment import make_quad, quad_angle, quad_center, quad_size
from vivface.files import check_output, complete_file
from vivface.media.sound import save_sound, sound_offset
from vivface.reenactment.codes import BATCH_SIZE, MotionBatch, MotionCodes
from vivface.reenactment.motion_file import MAX_FPS, MAX_INTEGER, MAX_SECONDS
from vivface.reenactment.progress import OnProgress
from vivface.tensor_files import TensorFile

CODED_SUFFIX = ".vfc"
FILE = TensorFile(
    "vivface-coded-video-1", "a coded video", "give a file that `vivface encode` wrote", MediaError, CODED_SUFFIX
)
POSE_NUMBERS = 3  # yaw, pitch, roll
VALUES = 32
NUMBERS = POSE_NUMBERS + VALUES
BYTES_PER_FRAME = 2 * NUMBERS
POINTS = "points"  # of the face: values that move a key picture without a generator
FITTED_BASES = ("channels", "components")  # of a generator
BASES = (*FITTED_BASES, POINTS)
HEADER_STEP = 128  # bytes; the JSON header is filled up with blanks
MAX_FRAMES = 10_000_000
Run = tuple[int, int, int]  # first time stamp, step, count


@dataclass
class CodedVideo:
    """One identity latent and 35 numbers a frame.

    Attributes:
        identity (`torch.Tensor` of shape `(num_latents, style_dim)`): float16, the identity latent L_ID in W+ (eq. 1).
        frames (`torch.Tensor` of shape `(frames, 35)`): float16: yaw, pitch, roll in degrees, then 32 values.
        timestamps (list of `int`), end (`int`): When frames are shown and when the last one ends, in `time_base`.
        time_base (`Fraction`): Seconds.
        fps (`Fraction`): Frames per second.
        basis (`str`): What the values belong to: `"channels"` of StyleSpace, principal `"components"` of motion,
            or `"points"` of the face.
        digest (`str`): Of the basis and the head pose model, to recognise them by.
        head_pose (`str`): What turns the head: `"motion"`, `"styleflow"` or `"directions"`.
        fingerprint (list of `float`): A few weights of the generator.
        crop (`torch.Tensor` of shape `(frames, 4)`, *optional*): float16: where the face was in the clip: centre x and
            y in widths and heights of its frame, side in widths, angle in degrees. Eight more bytes a frame.
        key (`bytes`, *optional*): A picture (AVIF) of one frame's face, upright and square, that decoding moves.
        key_frame (`int`, *optional*, defaults to 0): Which frame it shows.
        clip_size (`tuple[int, int]`, *optional*): Width and height of the clip in pixels.
        missing (list of `int`): Frames in which no face was seen.
        name (`str`): What was encoded.
        sound (`pathlib.Path`, *optional*): A file whose sound belongs to it: the clip, or what `save` wrote beside the
            `.vfc` file.
        sound_start (`Fraction`), sound_duration (`Fraction`, *optional*): The part of that file, seconds.
        warnings (list of `str`): What a user should know; not stored.
    """

    identity: Tensor
    frames: Tensor
    timestamps: list[int]
    end: int
    time_base: Fraction
    fps: Fraction
    basis: str
    digest: str
    head_pose: str
    fingerprint: list[float]
    crop: Tensor | None = None
    key: bytes | None = None
    key_frame: int = 0
    clip_size: tuple[int, int] | None = None
    missing: list[int] = field(default_factory=list)
    name: str = "the coded video"
    sound: Path | None = None
    sound_start: Fraction = Fraction(0)
    sound_duration: Fraction | None = None
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def seconds(self) -> Fraction:
        """Length."""
        return self.end * self.time_base

    @property
    def bytes_per_frame(self) -> int:
        """Bytes that one more frame costs: 70, or 78 with the crop track."""
        return BYTES_PER_FRAME + (0 if self.crop is None else 8)

    @property
    def header_bytes(self) -> int:
        """Bytes of the file that do not belong to frames: identity latent, clock and names."""
        return self.nbytes - self.bytes_per_frame * len(self)

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return sum(len(part) for part in self._parts())

    def motion(self) -> CodedMotion:
        """The 35 numbers as a stream of motion codes `(35,)`."""
        return CodedMotion(self)

    def save(self, path: str | os.PathLike, sound: bool = True) -> Path:
        """Write a `.vfc` file; equal videos give equal bytes.

        Args:
            path (`str` or `os.PathLike`): The `.vfc` file.
            sound (`bool`, *optional*, defaults to True): Also write the clip's sound beside it, if it has any.

        Raises:
            MediaError: If a file cannot be written.
        """
        path = check_output(path, (CODED_SUFFIX,))
        if sound and self.sound is not None and self.sound.resolve() != sound_file(path).resolve():
            self.warnings += save_sound(self.sound, sound_file(path), self.sound_start, self.sound_duration)
        try:
            with complete_file(path) as temporary, open(temporary, "wb") as file:
                file.writelines(self._parts())
        except OSError as error:
            raise MediaError(f"Cannot write '{path}': {error.strerror or error}.") from error
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> CodedVideo:
        """Read a `.vfc` file.

        Raises:
            MediaError: If it is missing, damaged, cut off, or something else.
        """
        coded = FILE.load(path, _decoded)
        sound = sound_file(path)
        if sound.is_file():
            coded.sound, coded.sound_start = sound, sound_offset(sound)
        return coded

    def _parts(self) -> list[bytes]:
        """Length of the header (8 bytes, little endian), JSON header, data of the tensors in the header's order."""
        tensors = {"identity": self.identity, "frames": self.frames}
        tensors |= {} if self.crop is None else {"crop": self.crop}
        data = {name: tensor.detach().cpu().numpy().astype("<f2").tobytes() for name, tensor in tensors.items()}
        kinds = {name: ("F16", list(tensor.shape)) for name, tensor in tensors.items()}
        if self.key is not None:
            data["key"], kinds["key"] = self.key, ("U8", [len(self.key)])
        metadata = {
            "format": FILE.format,
            "basis": self.basis,
            "digest": self.digest,
            "head_pose": self.head_pose,
            "fingerprint": json.dumps(self.fingerprint),
            "fps": str(self.fps),
            "time_base": str(self.time_base),
            "times": json.dumps(to_runs(self.timestamps), separators=(",", ":")),
            "end": str(self.end),
            "missing": json.dumps(to_runs(self.missing), separators=(",", ":")),
            "source": self.name,
        }
        if self.clip_size is not None:
            metadata["clip_size"] = json.dumps(self.clip_size)
        if self.key is not None:
            metadata["key_frame"] = str(self.key_frame)
        header: dict[str, object] = {"__metadata__": metadata}
        offset = 0
        for name, (kind, shape) in kinds.items():
            end = offset + len(data[name])
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % HEADER_STEP)  # a few digits more do not lengthen it
        return [len(text).to_bytes(8, "little"), text, *data.values()]


class CodedMotion(MotionCodes):
    """The numbers of a coded video as motion codes of the codec's pipeline.

    Args:
        coded (`CodedVideo`): Whose.
    """

    def __init__(self, coded: CodedVideo):
        super().__init__(
            name=coded.name,
            fps=coded.fps,
            time_base=coded.time_base,
            frames=len(coded),
            seconds=coded.seconds,
            code_shape=(NUMBERS,),
            fingerprint=coded.fingerprint,
            video=coded.sound,
            start=coded.sound_start,
            duration=coded.sound_duration,
        )
        self._coded = coded

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """The numbers in order; there are no images, and nothing has to be searched."""
        coded, unit = self._coded, self.time_base
        borders, missing = [*coded.timestamps, coded.end], set(coded.missing)
        for start in range(0, len(coded), batch_size):
            rows = range(start, min(start + batch_size, len(coded)))
            yield MotionBatch(
                coded.frames[rows.start : rows.stop].float(),
                times=[borders[row] * unit for row in rows],
                durations=[(borders[row + 1] - borders[row]) * unit for row in rows],
                found=[row not in missing for row in rows],
            )


def sound_file(path: str | os.PathLike) -> Path:
    """Where the sound of a `.vfc` file lies: beside it, `talk.vfc` -> `talk.m4a`."""
    return Path(path).with_suffix(".m4a")


def to_runs(numbers: list[int]) -> list[Run]:
    """Rising numbers as runs of equal steps: `[0, 2, 4, 9]` -> `[(0, 2, 3), (9, 1, 1)]`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs:
            first, step, count = runs[-1]
            if count == 1:
                runs[-1] = [first, number - first, 2]
                continue
            if number == first + step * count:
                runs[-1][2] += 1
                continue
        runs.append([number, 1, 1])
    return [tuple(run) for run in runs]


def from_runs(runs: list[Run]) -> list[int]:
    """The inverse of `to_runs`.

    Raises:
        ValueError: If these are no runs, or too many numbers.
    """
    if not isinstance(runs, list) or not all(_is_run(run) for run in runs):
        raise ValueError("its times are no list of runs")
    if sum(count for _, _, count in runs) > MAX_FRAMES:
        raise ValueError("it has too many frames")
    return [first + step * index for first, step, count in runs for index in range(count)]


def _is_run(run: object) -> bool:
    return (
        isinstance(run, list)
        and len(run) == 3
        and all(type(number) is int and 0 <= number <= 2**53 for number in run)
        and 1 <= run[2] <= MAX_FRAMES
    )


def _decoded(tensors: dict[str, Tensor], metadata: dict[str, str]) -> CodedVideo:
    """A coded video of checked parts.

    Raises:
        ValueError, KeyError, TypeError: If a part is missing or makes no sense.
    """
    identity, frames, crop = tensors["identity"], tensors["frames"], tensors.get("crop")
    times, missing = (from_runs(json.loads(metadata[name])) for name in ("times", "missing"))
    fps, time_base, end = _fraction(metadata["fps"]), _fraction(metadata["time_base"]), int(metadata["end"])
    fingerprint = [float(number) for number in json.loads(metadata["fingerprint"])]
    borders = [*times, end]
    key, key_frame = tensors.pop("key", None), int(metadata.get("key_frame", 0))
    if key is not None and (key.dtype != torch.uint8 or key.ndim != 1 or not 0 <= key_frame < len(frames)):
        raise ValueError("its key picture makes no sense")
    if not all(tensor.dtype == torch.float16 for tensor in tensors.values()):
        raise ValueError("its numbers are not in half precision")
    if frames.ndim != 2 or frames.shape[1] != NUMBERS or len(frames) != len(times) or not times:
        raise ValueError(f"it holds no {NUMBERS} numbers and a time for every frame")
    if identity.ndim != 2 or (crop is not None and crop.shape != (len(frames), 4)):
        raise ValueError("its identity latent or crop track has a wrong shape")
    if not all(before < after for before, after in zip(borders, borders[1:], strict=False)):
        raise ValueError("its times do not rise")
    if not (0 < fps <= MAX_FPS and time_base > 0 and end * time_base <= MAX_SECONDS):
        raise ValueError("its clock makes no sense")
    if metadata["basis"] not in BASES or not all(math.isfinite(number) for number in fingerprint):
        raise ValueError("its basis is unknown")
    if metadata["basis"] == POINTS and key is None:
        raise ValueError("it has points, but no key picture that they could move")
    if missing and missing[-1] >= len(frames):
        raise ValueError("it lacks more frames than it has")
    size = json.loads(metadata["clip_size"]) if "clip_size" in metadata else None
    if size is not None and not (len(size) == 2 and all(type(n) is int and 0 < n < 2**16 for n in size)):
        raise ValueError("the size of its clip makes no sense")
    return CodedVideo(
        identity=identity,
        frames=frames,
        timestamps=times,
        end=end,
        time_base=time_base,
        fps=fps,
        basis=metadata["basis"],
        digest=metadata["digest"],
        head_pose=metadata["head_pose"],
        fingerprint=fingerprint,
        crop=crop,
        key=None if key is None else key.numpy().tobytes(),
        key_frame=key_frame,
        clip_size=None if size is None else tuple(size),
        missing=missing,
        name=str(metadata["source"])[:200],
    )


def _fraction(text: str) -> Fraction:
    value = Fraction(text)
    if max(abs(value.numerator), value.denominator) > MAX_INTEGER:
        raise ValueError("its clock makes no sense")
    return value


def crop_row(quad: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A row of the crop track: centre in widths and heights, side in widths, angle in degrees.

    Args:
        quad (`numpy.ndarray` of shape `(4, 2)`): Corners in pixels of the clip.
        size (`tuple[int, int]`): Width and height of the clip in pixels.
    """
    center = quad_center(quad) / size
    return np.array([*center, quad_size(quad) / size[0], math.degrees(quad_angle(quad))], np.float16)


def quad_of(row: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Corners `(4, 2)` in pixels of a clip of this width and height; the inverse of `crop_row`."""
    x, y, side, angle = (float(number) for number in row)
    return make_quad(np.array([x * size[0], y * size[1]]), max(side, 1e-3) * size[0] / 2, math.radians(angle))

"""Which face of a picture or film is driven by which face of which clip."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vivface.errors import OptionError
from vivface.reenactment.codes import MotionCodes

Driver = int | str | os.PathLike | MotionCodes | tuple[str | os.PathLike, int]
Faces = str | Mapping[int, Driver] | Sequence[tuple[int, Driver]]
EXPECTED = (
    "expected 'all', or pairs of a face of the picture and what drives it: a face of the clip (0:0,1:1), another clip "
    "(1:other.mp4), or a face of that (1:other.mp4:1)"
)


@dataclass(frozen=True)
class FacePair:
    """A face and what drives it.

    Attributes:
        face (`int`): Of the picture, 0 the largest.
        clip (`str`, `os.PathLike` or `MotionCodes`, *optional*): Another clip, motion file, name of the motion library,
            or codes; None for the run's own clip.
        driving_face (`int`, *optional*): Of the clip, 0 the largest of its first frame; None for the largest.
    """

    face: int
    clip: str | os.PathLike | MotionCodes | None = None
    driving_face: int | None = None


def face_pairs(faces: Faces, count: int | None = None, driving_face: int | None = None) -> list[FacePair]:
    """What `faces` asks for.

    Args:
        faces: `"all"`; a text such as `"0:0,1:other.mp4"`; or pairs, or a mapping, of a face of the picture and a face
            of the clip, another clip, or another clip and a face of it.
        count (`int`, *optional*): Faces in the picture, which `"all"` needs.
        driving_face (`int`, *optional*): Which face of the clip drives all of them.

    Returns:
        list of `FacePair`: In the order given.

    Raises:
        OptionError: If it is not understood, or names a face twice.
    """
    if isinstance(faces, str):
        if faces.strip() == "all":
            return [FacePair(face, None, driving_face) for face in range(count or 0)]
        faces = [_split(item) for item in faces.split(",")]
    try:
        pairs = list(faces.items() if isinstance(faces, Mapping) else faces)
        pairs = [_pair(face, driver) for face, driver in pairs]
    except (TypeError, ValueError) as error:
        raise OptionError(f"`faces` is {faces!r}; {EXPECTED}.") from error
    if not pairs:
        raise OptionError(f"`faces` names no face; {EXPECTED}.")
    for pair in pairs:
        if sum(pair.face == other.face for other in pairs) > 1:
            raise OptionError(f"`faces` names face {pair.face} twice; expected every face of the picture once at most.")
    return pairs


def _split(item: str) -> tuple[int, Driver]:
    """A pair of a text: FACE:FACE, FACE:CLIP or FACE:CLIP:FACE."""
    face, _, driver = item.strip().partition(":")
    if not _is_number(face) or not driver:
        raise OptionError(f"`faces` has {item.strip()!r}; {EXPECTED}.")
    clip, _, last = driver.rpartition(":")
    if _is_number(driver):
        return int(face), int(driver)
    return int(face), (clip, int(last)) if clip and _is_number(last) else driver


def _pair(face: object, driver: object) -> FacePair:
    clip, number = (None, driver) if isinstance(driver, int) else (driver, None)
    if isinstance(driver, tuple | list):
        clip, number = driver
    for value in (face, number):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError
    if clip is None and number is None or clip is not None and not isinstance(clip, str | os.PathLike | MotionCodes):
        raise TypeError
    return FacePair(face, Path(clip) if isinstance(clip, os.PathLike) else clip, number)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()

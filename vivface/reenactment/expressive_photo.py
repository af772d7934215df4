"""A photograph under sliders: prepared once, then one frame for every change; presets of sliders as files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np

from vivface.errors import MediaError, OptionError
from vivface.faces.paste import PasteBack
from vivface.files import check_output, complete_file
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.rendering import paste_back as pasting
from vivface.warping.controls import CONTROLS, PRESETS, ControlledFace, Expression, check_expression
from vivface.warping.framing import Framing, frame_size
from vivface.warping.moving_photo import PASTED, MovingPhoto
from vivface.warping.photo_edit import PhotoEdit
from vivface.warping.retargeting import Rest

PRESET_FORMAT = "vivface-expression-1"
VARIANTS = 5  # pictures of a strip
STRIP_HEIGHT = 512  # most pixels of a picture in a strip
MOST_PRESET_BYTES = 100_000


class ExpressivePhoto:
    """A portrait's photograph, ready to wear any expression.

    Args:
        identity (`IdentityCode`): The portrait.
        crops (`tuple[str, str]`): How portraits and drivers are cut, see `ReenactmentPipeline.crops`.
        size (`int`, *optional*): Width and height of the face's crop in pixels; by default as large as the face is in
            the photo, 512 to 1024.
        paste_back (`bool`, *optional*, defaults to False): Show the whole photo.
        edit (`PhotoEdit`, *optional*): Of the photograph, before anything moves.

    Raises:
        MediaError: If the portrait has no points of a face.
    """

    def __init__(
        self,
        identity: IdentityCode,
        crops: tuple[str, str],
        size: int | None = None,
        paste_back: bool = False,
        edit: PhotoEdit | None = None,
    ):
        if identity.points is None:
            raise MediaError("The portrait has no points of a face, by which a photograph is moved: read it again.")
        framing = (
            Framing.around(PASTED) if paste_back else Framing.within(identity.photo, identity.quad, identity.points)
        )
        size = size or frame_size(identity.quad, framing)
        self._paste: PasteBack | None = pasting(identity, size, detail=True) if paste_back else None
        self._photo = MovingPhoto(
            identity.photo,
            identity.quad,
            identity.points,
            size,
            Rest.of(identity.points[None]),
            crops=crops,
            edit=edit,
            framing=framing,
        )
        self._face = ControlledFace(self._photo.face)

    def __call__(self, expression: Expression) -> np.ndarray:
        """The photograph with an expression.

        Args:
            expression (mapping): Amounts by name of `vivface.warping.controls.CONTROLS`.

        Returns:
            `numpy.ndarray` of shape `(height, width, 3)`: uint8 RGB; the photograph as it is where all amounts are 0.

        Raises:
            OptionError: If a control is unknown or out of its range.
        """
        values = check_expression(expression)
        image = self._photo.show(*self._face(values)) if values else self._photo(None)
        return image if self._paste is None else self._paste(image)

    def strip(self, expression: Expression, vary: str | None = None, count: int = VARIANTS) -> np.ndarray:
        """Variants side by side, each at most 512 pixels high.

        Args:
            expression (mapping): As above.
            vary (`str`, *optional*): A control that goes from one end of its range to the other while the others stay;
                by default all go together from the photograph as it is to the expression.
            count (`int`, *optional*, defaults to 5): How many.

        Returns:
            `numpy.ndarray` of shape `(height, count * width, 3)`: uint8 RGB.

        Raises:
            OptionError: If a control is unknown or out of its range, or `count` is not 2 to 12.
        """
        if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= 12:
            raise OptionError(f"`count` is {count!r}; expected 2 to 12 pictures.")
        images = [self(values) for values in variants(expression, vary, count)]
        height, width = images[0].shape[:2]
        if height > STRIP_HEIGHT:
            size = (round(width * STRIP_HEIGHT / height), STRIP_HEIGHT)
            images = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
        return np.concatenate(images, 1)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the photograph holds, about."""
        return self._photo.nbytes


def variants(expression: Expression, vary: str | None, count: int) -> list[dict[str, float]]:
    """The expressions of a strip, see `ExpressivePhoto.strip`."""
    values = check_expression(expression)
    if vary is None:
        return [{name: value * k / (count - 1) for name, value in values.items()} for k in range(count)]
    if vary not in CONTROLS:
        raise OptionError(f"There is no expression control {vary!r}: take one of {', '.join(CONTROLS)}.")
    low, high = CONTROLS[vary].low, CONTROLS[vary].high
    return [values | {vary: float(value)} for value in np.linspace(low, high, count)]


def save_preset(expression: Expression, path: str | os.PathLike) -> Path:
    """Write an expression as a JSON file.

    Raises:
        OptionError: If a control is unknown or out of its range.
        MediaError: If the file cannot be written.
    """
    path, values = check_output(path, (".json",)), check_expression(expression)
    text = json.dumps({"format": PRESET_FORMAT, "expression": values}, indent=2)
    with complete_file(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")
    return path


def load_preset(name: str | os.PathLike) -> dict[str, float]:
    """An expression by the name of a preset, such as "laugh", or from a file that `save_preset` wrote.

    Raises:
        OptionError: If there is no such preset, or the file holds a control that is unknown or out of its range.
        MediaError: If the file cannot be read or is no preset.
    """
    if str(name) in PRESETS:
        return dict(PRESETS[str(name)])
    path = Path(name)
    if path.suffix.lower() != ".json":
        raise OptionError(f"There is no preset '{name}': take one of {', '.join(PRESETS)}, or a file (.json).")
    try:
        if path.stat().st_size > MOST_PRESET_BYTES:
            raise MediaError(f"'{name}' is too large for a preset: give a file that was saved as one.")
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MediaError(f"The preset '{name}' cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise MediaError(f"'{name}' is no JSON file: give one that was saved as a preset.") from error
    if not isinstance(held, dict) or held.get("format") != PRESET_FORMAT or "expression" not in held:
        raise MediaError(f"'{name}' is a JSON file but no preset of an expression: give one that was saved as such.")
    return check_expression(held["expression"])

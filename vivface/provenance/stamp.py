"""What a result says about itself: mark and label in every picture, a signed manifest in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vivface import __version__
from vivface.errors import VivFaceError
from vivface.media.provenance import SYNTHETIC_TYPE, SYNTHETIC_TYPES
from vivface.provenance.detection import confirm_mark
from vivface.provenance.keys import SigningKey, signing_key
from vivface.provenance.label import LABEL, add_label, check_label
from vivface.provenance.manifest import Ingredient, sign_bytes, sign_file
from vivface.provenance.mark import SMALLEST, add_mark
from vivface.provenance.pictures import FRAMES, pictures_of

COMPOSITE_TYPE = SYNTHETIC_TYPES[1]


@dataclass(frozen=True)
class Provenance:
    """What results say about themselves, beside the metadata that every file has.

    Attributes:
        mark (`bool`): Put an imperceptible mark into every picture.
        manifest (`bool`): Sign a C2PA manifest.
        label (`bool` or `str`): Write a visible label into a corner: True for "AI-generated", or another text.
        key (`SigningKey`, *optional*): Signs; by default `vivface.provenance.signing_key`.

    Raises:
        OptionError: If the label cannot be drawn.
    """

    mark: bool = True
    manifest: bool = True
    label: bool | str = False
    key: SigningKey | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.label, bool):
            check_label(self.label)


class Stamp:
    """Marks the pictures of one result and signs its file.

    Args:
        provenance (`Provenance`): What to do.
        identifier (`int`): The number of the mark, the same in picture and manifest.
        composite (`bool`, *optional*, defaults to False): Whether a part of the pictures is a photograph.
        ingredients (sequence of `Ingredient`, *optional*): What the result is made from.

    Attributes:
        warnings (list of `str`): What a user should know.
    """

    def __init__(
        self,
        provenance: Provenance,
        identifier: int,
        composite: bool = False,
        ingredients: Sequence[Ingredient] = (),
    ):
        self.provenance = provenance
        self.identifier = identifier
        self.warnings: list[str] = []
        self._source_type = COMPOSITE_TYPE if composite else SYNTHETIC_TYPE
        self._ingredients = list(ingredients)
        self._marked = self._lost = False

    def picture(self, image: np.ndarray) -> np.ndarray:
        """Label and mark a picture, uint8 RGB or RGBA `(height, width, 3 or 4)`; `image` itself stays as it is."""
        if image.shape[2] == 4:
            colours = self.picture(np.ascontiguousarray(image[..., :3]))
            return np.concatenate([colours, image[..., 3:]], 2)
        if self.provenance.label:
            image = add_label(image, LABEL if self.provenance.label is True else self.provenance.label)
        if not self.provenance.mark:
            return image
        self._marked = self._marked or min(image.shape[:2]) >= SMALLEST
        return add_mark(image, self.identifier)

    def finish(self, temporary: Path, name: Path) -> None:
        """Sign a finished file before it gets its name; a file that cannot be signed is kept, with a warning.

        The manifest names the mark only if it is still in the pictures of the file.
        """
        if not self.provenance.manifest:
            return
        try:
            survived = self._marked and confirm_mark(next(pictures_of(temporary))[:FRAMES], self.identifier)
            if self._marked and not survived and not self._lost:
                self._lost = True  # said once, however many images there are
                self.warnings.append(
                    f"{name.name}: the mark in the pictures did not survive the compression; raise the quality or the "
                    "size to keep it."
                )
            beside = sign_file(
                temporary,
                self.provenance.key or signing_key(),
                __version__,
                name=name,
                identifier=self.identifier if survived else None,
                source_type=self._source_type,
                ingredients=self._ingredients,
            )
        except VivFaceError as error:
            self.warnings.append(f"{name.name} has no signed manifest. {error}")
            return
        if beside is not None:
            kind = name.suffix.lower().lstrip(".").upper()
            self.warnings.append(
                f"{name.name}: {kind} cannot hold a C2PA manifest, so it lies beside it in {beside.name}; "
                "keep the two together, or write .mp4."
            )

    def encoded(self, data: bytes, kind: str) -> bytes:
        """Sign an image in memory, of a kind such as `"image/jpeg"`; as it is if that fails or is not wanted."""
        if not self.provenance.manifest:
            return data
        try:
            key = self.provenance.key or signing_key()
            return sign_bytes(data, kind, key, __version__, self.identifier if self._marked else None)
        except VivFaceError as error:
            self.warnings.append(str(error))
            return data


def number_of(*parts: object) -> int:
    """A number for a mark: the same for the same arrays and values, so that results can be made again.

    Args:
        parts: Arrays are taken by their bytes, all else by its `repr`.

    Returns:
        `int`: 0 to 2 ** 32 - 1.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else repr(part).encode()
        digest.update(data)
    return int.from_bytes(digest.digest()[:4], "big")

"""Named directions in W+ and in the space of motion codes, and edits by them.

Robust One-Shot Face Video Re-enactment using Hybrid Latent Spaces of StyleGAN2 (ICCV 2023), eq. 4: an attribute is
edited by moving the identity code along its direction, and every frame of the video shows the edited person:

    I_t = G(A(W + sum_k a_k n_k) + S_t)

Pose and expression are edited by the same means where they live, in the generic motion code: S_t becomes
S_t + sum_k b_k m_k. A checkpoint carries its directions beside `model_index.json`, in `directions.safetensors`: one
tensor a direction, `w_plus/NAME` or `motion/NAME`, and their labels as JSON in the metadata.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vivface.errors import OptionError
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.reenactment.codes import IdentityCode, MotionBatch, MotionCodes
from vivface.tensor_files import TensorFile

DIRECTIONS_FILE = "directions.safetensors"
FILE = TensorFile("vivface-directions-1", "directions of vivface")
SPACES = ("w_plus", "motion")

Space = Literal["w_plus", "motion"]


@dataclass(frozen=True)
class Direction:
    """One attribute and where it leads.

    Attributes:
        name (`str`): By which edits name it, lower case with underscores.
        label (`str`): For people.
        space (`str`): `"w_plus"` for attributes of the person, `"motion"` for pose and expression.
        vector (`torch.Tensor` of shape `(num_latents, style_dim)` or `(motion_codes, style_dim)`): the step of an
            amount of 1.
        reach (`float`): Amounts from -reach to reach give plausible faces.
    """

    name: str
    label: str
    space: Space
    vector: Tensor
    reach: float = 1.0


class AttributeDirections(Mapping[str, Direction]):
    """The directions that belong to one checkpoint, by name, in order.

    Example:

        directions = AttributeDirections.load("checkpoint/directions.safetensors")
        identity = directions.edit_identity(pipe.generator, identity, {"smile": 0.5, "age": -1})
        motion = directions.edit_motion(motion, {"smile": 0.5, "age": -1})
    """

    def __init__(self, directions: list[Direction] | None = None):
        self._directions = {direction.name: direction for direction in directions or []}
        if len(self._directions) != len(directions or []):
            raise ValueError("`directions` has two of one name; expected every name once.")

    def __getitem__(self, name: str) -> Direction:
        return self._directions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._directions)

    def __len__(self) -> int:
        return len(self._directions)

    def of(self, space: Space) -> list[Direction]:
        """Those of one space."""
        return [direction for direction in self.values() if direction.space == space]

    # Files -----------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> Path:
        """Write a safetensors file.

        Raises:
            MediaError: If the file cannot be written.
        """
        tensors = {f"{d.space}/{d.name}": d.vector.float() for d in self.values()}
        labels = [{"name": d.name, "label": d.label, "space": d.space, "reach": d.reach} for d in self.values()]
        return FILE.save(path, tensors, {"directions": json.dumps(labels)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "AttributeDirections":
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: If it is missing, damaged, or something else.
        """

        def decode(tensors: dict[str, Tensor], metadata: dict[str, str]) -> AttributeDirections:
            return cls(
                [
                    Direction(
                        entry["name"],
                        entry["label"],
                        entry["space"],
                        tensors[f"{entry['space']}/{entry['name']}"],
                        float(entry["reach"]),
                    )
                    for entry in json.loads(metadata["directions"])
                ]
            )

        return FILE.load(path, decode)

    @classmethod
    def of_checkpoint(cls, folder: str | os.PathLike) -> "AttributeDirections":
        """The directions in a checkpoint's folder; none if it carries none."""
        path = Path(folder) / DIRECTIONS_FILE
        return cls.load(path) if path.is_file() else cls()

    # Edits -----------------------------------------------------------------------------------------------------------

    def check_names(self, edits: Mapping[str, object]) -> None:
        """Check that edits are a mapping and name known directions.

        Raises:
            OptionError: If they do not.
        """
        if not isinstance(edits, Mapping):
            raise OptionError(f"The edits are {str(edits)[:80]}; expected amounts by name, such as {{'smile': 0.5}}.")
        for name in edits:
            if name not in self:
                known = ", ".join(self) or "none"
                raise OptionError(f"There is no direction {name!r} in this checkpoint: it has {known}.")

    def check(self, edits: Mapping[str, float]) -> None:
        """Check that edits name known directions and amounts within their reach.

        Raises:
            OptionError: If they do not.
        """
        self.check_names(edits)
        for name, amount in edits.items():
            is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
            if not (is_number and abs(amount) <= 4 * self[name].reach):
                raise OptionError(
                    f"The edit {name!r} is {amount!r}; expected a number from -{self[name].reach:g} to "
                    f"{self[name].reach:g}, 0 for no change."
                )

    def edit_identity(
        self, generator: StyleGAN2Generator, identity: IdentityCode, edits: Mapping[str, float]
    ) -> IdentityCode:
        """The same portrait with other attributes.

        The source's own motion is edited too, so that relative motion, which starts from it, shows the same edits.

        Args:
            generator (`StyleGAN2Generator`): Whose styles the code is turned into, unless the identity has its own.
            identity (`IdentityCode`): The portrait; not changed.
            edits (mapping of `str` to `float`): Amounts by name.

        Raises:
            OptionError: If a name is unknown or an amount out of range.
        """
        self.check(edits)
        step, turn = self._sum("w_plus", edits, identity.w_plus), self._sum("motion", edits, identity.motion)
        if step is not None:
            w_plus = identity.w_plus + step
            with torch.no_grad():
                styles = (identity.generator or generator).to_stylespace(w_plus)
            identity = replace(identity, w_plus=w_plus, styles=styles)
        if turn is not None:
            identity = replace(identity, motion=identity.motion + turn)
        return identity

    def edit_motion(self, motion: MotionCodes, edits: Mapping[str, float]) -> MotionCodes:
        """The same motion with another expression or pose in every frame, as lazy as it was.

        Raises:
            OptionError: If a name is unknown or an amount out of range.
        """
        self.check(edits)
        if self._sum("motion", edits, torch.zeros(())) is None:
            return motion

        def moved(batches: Iterator[MotionBatch]) -> Iterator[MotionBatch]:
            for batch in batches:
                yield replace(batch, codes=batch.codes + self._sum("motion", edits, batch.codes))

        return motion.map(moved)

    def _sum(self, space: Space, edits: Mapping[str, float], like: Tensor) -> Tensor | None:
        """The step of all edits in one space, on the device and in the precision of `like`; None if there is none."""
        chosen = [(self[name].vector, amount) for name, amount in edits.items() if amount and self[name].space == space]
        if not chosen:
            return None
        return sum(vector.to(like) * amount for vector, amount in chosen)

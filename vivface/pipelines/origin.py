"""The share of every pipeline that recognises the codes of its own encoder."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from diffusers import ModelMixin

from vivface.errors import MediaError
from vivface.reenactment.codes import IdentityCode


class Origin:
    """A checkpoint that refuses the codes of another one; mixed into `ReenactmentPipeline`."""

    MOTION_READER: ClassVar[str]
    code_shape: tuple[int, ...]

    @property
    def motion_reader(self) -> ModelMixin:
        """The network that sees driving frames."""
        return getattr(self, self.MOTION_READER)

    @property
    def fingerprint(self) -> list[float]:
        """The first weights of the network that reads motion, which recognise it in any precision."""
        return next(self.motion_reader.parameters()).detach().flatten()[:8].tolist()

    def _own(self, identity: IdentityCode) -> IdentityCode:
        """The identity on the pipeline's device and in its precision.

        Raises:
            MediaError: If another checkpoint made it.
        """
        self._check_origin("the identity code", tuple(identity.motion.shape[1:]), identity.fingerprint)
        return identity.to(self._execution_device, self.motion_reader.dtype)

    def _check_origin(self, name: str, shape: tuple[int, ...], fingerprint: list[float]) -> None:
        """Refuse codes that the encoder of another checkpoint made."""
        quoted = name if name.startswith("the ") else f"'{name}'"
        if shape != self.code_shape:
            raise MediaError(
                f"{quoted} holds {codes_in_words(shape)}, this checkpoint takes {codes_in_words(self.code_shape)}: "
                "extract them with this checkpoint."
            )
        ours, theirs = np.array(self.fingerprint), np.array(fingerprint)
        if ours.shape != theirs.shape or not np.abs(ours - theirs).max() <= 1e-2 * np.abs(ours).max():
            raise MediaError(f"{quoted} was made by the encoder of another checkpoint: extract it with this one.")


def codes_in_words(shape: tuple[int, ...]) -> str:
    """What codes of a shape are, for messages."""
    if len(shape) == 1:
        return f"motion codes of {shape[0]} numbers"
    if len(shape) > 2:
        return f"motion maps of {' x '.join(map(str, shape))} numbers"
    return f"{shape[0]} motion codes of {shape[1]} numbers"

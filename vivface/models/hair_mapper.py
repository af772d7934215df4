"""Hair edits of identity codes from text (HairCLIP), which ViVFace's second stage disturbs codes with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from vivface.models.precision import PrecisionMixin

EPSILON = 1e-8


class Modulation(nn.Module):
    """A linear layer whose normalised output a text scales and shifts (HairCLIP, sec. 3.2).

    Args:
        rows (`int`): Vectors of a code that are normalised together.
        dim (`int`): Entries of a vector.
        text_dim (`int`): Entries of a text embedding.
    """

    def __init__(self, rows: int, dim: int, text_dim: int):
        super().__init__()
        self.rows = rows
        self.linear = nn.Linear(dim, dim)
        self.scale, self.shift = (
            nn.Sequential(nn.Linear(text_dim, dim), nn.LayerNorm(dim), nn.LeakyReLU(0.01), nn.Linear(dim, dim))
            for _ in range(2)
        )

    def forward(self, code: Tensor, text: Tensor | None) -> Tensor:
        """Change a part of a code; without a text the normalised vectors are the answer.

        Args:
            code (`torch.Tensor` of shape `(batch, rows, dim)`): Part of a code.
            text (`torch.Tensor` of shape `(batch, text_dim)`, *optional*): CLIP's embedding of a text.

        Returns:
            `torch.Tensor` of the shape of `code`.
        """
        code = self.linear(code)
        code = F.layer_norm(code, code.shape[1:])
        if text is None:
            return code
        return F.leaky_relu(code * (1 + self.scale(text)[:, None]) + self.shift(text)[:, None], 0.01)


class HairMapper(PrecisionMixin, ModelMixin, ConfigMixin):
    """What a hairstyle and a hair colour, as texts, add to an identity code (HairCLIP, sec. 3.2).

    Hairstyle acts on the first and second group of W+ vectors, colour on the third. At the defaults it is the
    published network, for a generator of 1024 x 1024.

    Args:
        groups (`tuple[int, int, int]`, *optional*, defaults to `(4, 4, 10)`): Vectors of the code in each group.
        style_dim (`int`, *optional*, defaults to 512): Entries of a vector.
        text_dim (`int`, *optional*, defaults to 512): Entries of a text embedding; those of CLIP ViT-B/32.
        depth (`int`, *optional*, defaults to 5): Modulated layers of a group.

    Raises:
        ValueError: If there are not three groups of at least one vector.
    """

    @register_to_config
    def __init__(self, groups: Sequence[int] = (4, 4, 10), style_dim: int = 512, text_dim: int = 512, depth: int = 5):
        super().__init__()
        if len(groups) != 3 or min(groups) < 1:
            raise ValueError(f"`groups` is {tuple(groups)}; expected three numbers of at least 1.")
        self.coarse, self.medium, self.fine = (
            nn.ModuleList([Modulation(rows, style_dim, text_dim) for _ in range(depth)]) for rows in groups
        )

    @property
    def num_latents(self) -> int:
        """Vectors of the identity codes that it is for."""
        return sum(self.config.groups)

    def forward(self, w_plus: Tensor, hairstyle: Tensor | None = None, colour: Tensor | None = None) -> Tensor:
        """The step to add to identity codes.

        A group without a text still gives a step, as published: its layers stop after the normalisation.

        Args:
            w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Identity codes.
            hairstyle (`torch.Tensor` of shape `(batch, text_dim)`, *optional*): CLIP's embedding of its description.
            colour (`torch.Tensor` of shape `(batch, text_dim)`, *optional*): CLIP's embedding of its description.

        Returns:
            `torch.Tensor` of the shape of `w_plus`.

        Raises:
            ValueError: If a shape is wrong.
        """
        expected = (self.num_latents, self.config.style_dim)
        if w_plus.ndim != 3 or w_plus.shape[1:] != expected:
            raise ValueError(
                f"`w_plus` has shape {tuple(w_plus.shape)}; expected (batch, {expected[0]}, {expected[1]})."
            )
        for name, text in (("hairstyle", hairstyle), ("colour", colour)):
            if text is not None and text.shape != (len(w_plus), self.config.text_dim):
                raise ValueError(
                    f"`{name}` has shape {tuple(text.shape)}; expected ({len(w_plus)}, {self.config.text_dim})."
                )
        steps = []
        parts = w_plus.split(tuple(self.config.groups), dim=1)
        layers = (self.coarse, self.medium, self.fine)
        for part, modulations, text in zip(parts, layers, (hairstyle, hairstyle, colour), strict=True):
            step = part * torch.rsqrt(part.square().mean(dim=-1, keepdim=True) + EPSILON)
            for modulation in modulations:
                step = modulation(step, text)
            steps.append(step)
        return torch.cat(steps, dim=1)

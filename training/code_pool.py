"""A memory of codes for the latent discriminator."""

from __future__ import annotations

import random

import torch
from torch import Tensor


class CodePool:
    """Past codes for a discriminator: half of what is requested is old, once the pool is full (e4e).

    Of every W+ code one vector, drawn at random, enters.

    Args:
        size (`int`): Codes to keep; 0 for none.
    """

    def __init__(self, size: int):
        self.size, self.codes = size, []

    def exchange(self, codes: Tensor) -> Tensor:
        """Put codes in and take as many out.

        Args:
            codes (`torch.Tensor` of shape `(batch, style_dim)` or `(batch, num_latents, style_dim)`): New ones.

        Returns:
            `torch.Tensor` of shape `(batch, style_dim)`: Some of them old, without a gradient.
        """
        answer = []
        for code in codes.detach():
            if code.ndim == 2:
                code = code[random.randrange(len(code))]
            if self.size and len(self.codes) == self.size and random.random() < 0.5:
                place = random.randrange(self.size)
                self.codes[place], code = code.clone(), self.codes[place]
            elif len(self.codes) < self.size:
                self.codes.append(code.clone())
            answer.append(code)
        return torch.stack(answer)

"""Generator stage: an unconditional StyleGAN2 on images of faces.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020): non-saturating loss, lazy R1 on real
images, lazy path length regularisation, style mixing, averaged weights.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from training.arguments import Options, option
from training.data import ImageBatches, open_clips
from training.losses import discriminator_loss, generator_loss, path_length_penalty, path_lengths, r1_penalty
from training.networks import frozen
from training.stages.base import Stage, tile
from vivface.models import StyleGAN2Discriminator, StyleGAN2Generator


class GeneratorOptions(Options):
    """Settings of the generator stage."""

    r1: float = option(10.0, "R1 weight gamma; small images want less, about 0.0002 * size^2 / batch * 32")
    r1_every: int = option(16, "steps between R1 terms")
    path: float = option(2.0, "weight of path length regularisation, 0 for none")
    path_every: int = option(4, "steps between path length terms")
    path_share: float = option(0.5, "fraction of the batch that the path length term uses")
    path_decay: float = option(0.01, "weight of a batch in the running mean path length")
    mixing: float = option(0.9, "probability that an image takes its later styles from a second latent")
    latent_decay: float = option(0.995, "decay of the running mean latent")
    sample_truncation: float = option(0.7, "truncation of the sample grid, in [0, 1]")


class GeneratorStage(Stage):
    """Train `generator` against `discriminator`; optimisers `generator` and `discriminator`."""

    options_class = GeneratorOptions

    def build(self) -> None:
        """Add generator and discriminator, each with an optimiser.

        Raises:
            OptionError: If the data have another size than the generator.
        """
        self.add_network("generator", self.make(StyleGAN2Generator, "generator"), average=True)
        size = self.networks["generator"].config.size
        self.check_data_size(size, "generator")
        self.add_network("discriminator", self.make(StyleGAN2Discriminator, "discriminator", size=size))
        self.add_optimizer("generator", "generator")
        self.add_optimizer("discriminator", "discriminator")
        self.path_mean = torch.zeros((), device=self.device)

    def dataset(self) -> ImageBatches:
        """Single images."""
        data = self.preset.data
        return ImageBatches(open_clips(data), data, self.preset.loop.seed)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update generator, then discriminator, each with its lazy regularisation.

        Args:
            batch (`dict[str, torch.Tensor]`): `image` `(batch, 3, size, size)` in [-1, 1].

        Returns:
            `dict`: Losses, logits, path length.
        """
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        options, real = self.options, batch["image"]
        scalars: dict[str, Tensor | float] = {}

        # 1. Generator: images that are classified as real.
        with frozen(discriminator):
            with self.autocast():
                w_plus = self.sample_codes(len(real), track=True)
                logits = discriminator(generator(w_plus, noise="random"))
            scalars["generator"] = loss = generator_loss(logits.float())
            self.update("generator", loss)

        # 2. Generator, every few steps: equal steps in w make equal steps in the image.
        if options.path > 0 and self.progress.step % options.path_every == 0:
            count = max(1, math.ceil(len(real) * options.path_share))
            w_plus = self.sample_codes(count)
            lengths = path_lengths(generator(w_plus, noise="random"), w_plus)
            penalty, self.path_mean = path_length_penalty(lengths, self.path_mean, options.path_decay)
            self.update("generator", penalty * (options.path * options.path_every))
            scalars |= {"path_penalty": penalty, "path_length": self.path_mean}

        # 3. Discriminator: real against generated.
        with torch.no_grad(), self.autocast():
            generated = generator(self.sample_codes(len(real)), noise="random")
        with self.autocast():
            on_generated, on_real = discriminator(generated), discriminator(real)
        scalars["discriminator"] = loss = discriminator_loss(on_real.float(), on_generated.float())
        self.update("discriminator", loss)
        scalars |= {"logit_generated": on_generated.mean(), "logit_real": on_real.mean()}

        # 4. Discriminator, every few steps: no slope at real images (R1).
        if options.r1 > 0 and self.progress.step % options.r1_every == 0:
            real = real.detach().requires_grad_(True)
            penalty = r1_penalty(discriminator(real), real)
            self.update("discriminator", penalty * (options.r1 / 2 * options.r1_every))
            scalars["r1"] = penalty
        return scalars

    def sample_codes(self, batch: int, track: bool = False) -> Tensor:
        """Identity codes of random latents, some of them mixed of two.

        Args:
            batch (`int`): How many.
            track (`bool`, *optional*, defaults to False): Update the running mean latent.

        Returns:
            `torch.Tensor` of shape `(batch, num_latents, style_dim)`.
        """
        generator, options = self.networks["generator"], self.options
        z = torch.randn(2 * batch, generator.config.style_dim, device=self.device)
        first, second = generator.mapping(z).chunk(2)  # each (batch, style_dim)
        if track:
            with torch.no_grad():
                generator.latent_avg.lerp_(first.float().mean(0), 1.0 - options.latent_decay)
        crossover = torch.randint(1, generator.num_latents, (batch, 1), device=self.device)
        mixed = torch.rand(batch, 1, device=self.device) < options.mixing
        crossover = torch.where(mixed, crossover, generator.num_latents)
        later = torch.arange(generator.num_latents, device=self.device) >= crossover  # (batch, num_latents)
        return torch.where(later[..., None], second[:, None], first[:, None])

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        return len(batch["image"])

    def extra_state(self) -> dict:
        return {"path_mean": self.path_mean}

    def load_extra_state(self, state: dict) -> None:
        self.path_mean = state["path_mean"].to(self.device)

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray:
        """24 faces of fixed latents."""
        generator = self.averaged("generator")
        random = torch.Generator().manual_seed(0)
        codes = generator.sample_latents(24, self.options.sample_truncation, random)
        images = [image for chunk in codes.to(self.device).split(4) for image in generator(chunk)]
        return tile([images[k : k + 6] for k in range(0, 24, 6)])

"""Stage I: encoder and transformer against a frozen generator (ViVFace, sec. "Stage I").

Every sample is three pictures: S and D1 from one video, D2 of another person. With E the encoder, T the transformer,
G the generator, w and M the identity code and the memory of S:

    self        G(A(w) + T(S's motion, M))    must give S
    same        G(A(w) + T(D1's motion, M))   must give D1
    cross       G(A(w) + T(D2's motion, M))   has no truth: must encode to w and to D2's motion again, and look like S
    neutral     G(A(w)), or G(A(w) + T(0, M)) must look like S

Weights as published: MSE 1, perceptual 0.8, gradient variance 0.01 (self and same alike); identity 0.1 (cross and
neutral); consistency of w 1 and of motion 1; a discriminator that tells encoded w from the mapping network's 0.1;
mean square of D1's motion codes 2e-4. All losses see pictures pooled to the encoder's size.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arguments import option
from training.data import PairBatches, open_clips
from training.losses import discriminator_loss, generator_loss, gradient_variance, identity_loss, r1_penalty
from training.perceptual import build_perceptual
from training.stages.base import Stage, frozen, tile
from vivface.errors import OptionError
from vivface.models import (
    DeformationTransformer,
    HybridEncoder,
    IdentityNetwork,
    LatentDiscriminator,
    StyleGAN2Generator,
)


@dataclass
class Stage1Options:
    """Settings of stage I; the defaults are the published ones."""

    perceptual: str = option(
        "lpips-alex", "'lpips-alex' (needs its weights) or 'identity-features' (networks.identity)"
    )
    neutral: str = option("zero", "neutral picture: 'zero' = G(A(w)), the paper; 'transformed' = G(A(w) + T(0, M))")
    pixel: float = option(1.0, "weight of the mean squared error of self and same")
    features: float = option(0.8, "weight of the perceptual distance of self and same")
    gradient_variance: float = option(0.01, "weight of the gradient variance loss of self and same")
    patch: int = option(8, "side of the gradient variance patches, pixels")
    identity: float = option(0.1, "weight of the identity loss of neutral and cross")
    identity_consistency: float = option(1.0, "weight of re-encoding w from cross")
    motion_consistency: float = option(1.0, "weight of re-encoding D2's motion from cross")
    motion_norm: float = option(2e-4, "weight of the mean square of D1's motion codes")
    adversarial: float = option(0.1, "weight of the latent discriminator in the encoder's loss, 0 for none")
    r1: float = option(10.0, "R1 weight of the latent discriminator")
    r1_every: int = option(16, "steps between R1 terms")
    pool: int = option(50, "codes remembered for the latent discriminator")


class CodePool:
    """Past codes for a discriminator: half of what is asked for is old, once the pool is full (e4e).

    Of every W+ code one of its vectors, drawn at random, enters.
    """

    def __init__(self, size: int):
        self.size, self.codes = size, []

    def exchange(self, codes: Tensor) -> Tensor:
        """Codes (batch, style_dim) or (batch, num_latents, style_dim) -> (batch, style_dim), some of them old."""
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


class Stage1(Stage):
    """Train `encoder` and `transformer` (optimiser `main`) and `latent_discriminator` (optimiser of that name)."""

    options_class = Stage1Options

    def build(self) -> None:
        if self.options.neutral not in ("zero", "transformed"):
            raise OptionError(f"options.neutral is {self.options.neutral!r}, expected 'zero' or 'transformed'")
        generator = self.add_network("generator", self.make(StyleGAN2Generator, "generator"), trained=False)
        self.add_network("identity", self.make(IdentityNetwork, "identity"), trained=False)
        shape = {
            "num_latents": generator.num_latents,
            "motion_codes": generator.config.motion_codes,
            "style_dim": generator.config.style_dim,
        }
        encoder = self.make(HybridEncoder, "encoder", **shape)
        if encoder.config.num_latents != generator.num_latents:
            raise OptionError(
                f"networks.encoder.num_latents is {encoder.config.num_latents}, expected {generator.num_latents} for a "
                f"generator of size {generator.config.size}"
            )
        self.check_data_size(encoder.config.image_size, "encoder")
        if "pretrained" not in self.preset.networks.get("encoder", {}):
            encoder.latent_avg.copy_(generator.latent_avg)
        self.add_network("encoder", encoder, average=True)
        style_dim = generator.config.style_dim
        self.add_network(
            "transformer", self.make(DeformationTransformer, "transformer", style_dim=style_dim), average=True
        )
        self.add_network(
            "latent_discriminator", self.make(LatentDiscriminator, "latent_discriminator", style_dim=style_dim)
        )
        self.perceptual = build_perceptual(self.options.perceptual, self.networks["identity"]).to(self.device)
        self.add_optimizer("main", "encoder", "transformer")
        self.add_optimizer("latent_discriminator", "latent_discriminator")
        self.real_codes, self.encoded_codes = CodePool(self.options.pool), CodePool(self.options.pool)
        self.seen: dict[str, Tensor] | None = None

    def dataset(self) -> PairBatches:
        return PairBatches(open_clips(self.preset.data), self.preset.data, self.preset.loop.seed)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        options, encoder = self.options, self.networks["encoder"]
        source, same, other = batch["source"], batch["same"], batch["other"]
        self.seen = batch

        # 1. Encode, generate.
        with self.autocast():
            made, codes = self.reenact(self.networks, source, [source, same, other])
            on_self, on_same, cross = made[:3]
            neutral = self.neutral_image(codes)
            again = encoder(cross, memory=False)
        w, motion_same, motion_other = codes["w"], codes["motions"][1], codes["motions"][2]

        # 2. What has a truth: self and same.
        terms: dict[str, Tensor] = {}
        for name, image, target in (("self", on_self, source), ("same", on_same, same)):
            terms[f"{name}/pixel"] = options.pixel * F.mse_loss(image, target)
            with self.autocast():
                terms[f"{name}/features"] = options.features * self.perceptual(image, target).float()
            variance = gradient_variance(image, target, options.patch)
            terms[f"{name}/gradient_variance"] = options.gradient_variance * variance

        # 3. What has none: identity of neutral and cross, both codes of cross.
        with self.autocast():
            identity = self.networks["identity"]
            with torch.no_grad():
                person = identity.embed(source)
            alike = identity_loss(identity.embed(neutral), person) + identity_loss(identity.embed(cross), person)
        terms["identity"] = options.identity * alike.float()
        terms["identity_consistency"] = options.identity_consistency * F.mse_loss(again.identity.float(), w)
        terms["motion_consistency"] = options.motion_consistency * F.mse_loss(again.motion.float(), motion_other)
        terms["motion_norm"] = options.motion_norm * motion_same.square().mean()

        # 4. Codes like those of the mapping network.
        discriminator = self.networks["latent_discriminator"]
        if options.adversarial > 0:
            with frozen(discriminator):
                terms["adversarial"] = options.adversarial * generator_loss(discriminator(w.flatten(0, 1)))
        loss = torch.stack(list(terms.values())).sum()
        self.update("main", loss)

        # 5. The discriminator's turn.
        scalars: dict[str, Tensor | float] = {"loss": loss, **terms}
        if options.adversarial > 0:
            scalars |= self.train_discriminator(w)
        return scalars

    def reenact(
        self, networks: dict[str, nn.Module], source: Tensor, drivers: list[Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor | list[Tensor]]]:
        """Every driver's motion on the source.

        Args:
            networks (`dict[str, nn.Module]`): `encoder`, `transformer`, `generator`.
            source (`Tensor` of shape `(batch, 3, size, size)`): In [-1, 1].
            drivers (`list[Tensor]`): Of the same shape; the source itself may be among them.

        Returns:
            `tuple`: float32 pictures at the encoder's size, one a driver, and the codes: `w`, `memory`, `motions`
            (of each driver, generic, float32), `styles` = A(w).
        """
        encoder, transformer, generator = networks["encoder"], networks["transformer"], networks["generator"]
        of_source = encoder(source)
        motions = [
            of_source.motion if d is source else encoder(d, identity=False, memory=False).motion for d in drivers
        ]
        styles = generator.to_stylespace(of_source.identity)
        images = [
            self.pooled(generator.synthesize(generator.add_motion(styles, transformer(m, of_source.memory))))
            for m in motions
        ]
        return images, {
            "w": of_source.identity.float(),
            "memory": of_source.memory,
            "motions": [m.float() for m in motions],
            "styles": styles,
        }

    def neutral_image(self, codes: dict) -> Tensor:
        """The source without motion, by `options.neutral`."""
        generator, styles = self.networks["generator"], codes["styles"]
        if self.options.neutral == "transformed":
            still = torch.zeros_like(codes["motions"][0])
            styles = generator.add_motion(styles, self.networks["transformer"](still, codes["memory"]))
        return self.pooled(generator.synthesize(styles))

    def pooled(self, image: Tensor) -> Tensor:
        """The generator's picture averaged down to the encoder's size, in float32."""
        return F.adaptive_avg_pool2d(image.float(), self.networks["encoder"].config.image_size)

    def train_discriminator(self, w: Tensor) -> dict[str, Tensor]:
        """One step of the latent discriminator on codes of the mapping network and encoded ones."""
        options, discriminator = self.options, self.networks["latent_discriminator"]
        generator = self.networks["generator"]
        with torch.no_grad():
            z = torch.randn(len(w), generator.config.style_dim, device=self.device)
            real = self.real_codes.exchange(generator.mapping(z))
        encoded = self.encoded_codes.exchange(w)
        loss = discriminator_loss(discriminator(real), discriminator(encoded))
        self.update("latent_discriminator", loss)
        scalars = {"latent_discriminator": loss}
        if options.r1 > 0 and self.progress.step % options.r1_every == 0:
            real.requires_grad_(True)
            penalty = r1_penalty(discriminator(real), real)
            self.update("latent_discriminator", penalty * (options.r1 / 2 * options.r1_every))
            scalars["r1"] = penalty
        return scalars

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        return len(batch["source"])

    def extra_state(self) -> dict:
        return {"real_codes": self.real_codes.codes, "encoded_codes": self.encoded_codes.codes}

    def load_extra_state(self, state: dict) -> None:
        self.real_codes.codes = [code.to(self.device) for code in state["real_codes"]]
        self.encoded_codes.codes = [code.to(self.device) for code in state["encoded_codes"]]

    def checkpoint_extra(self, folder) -> None:
        """The frozen generator belongs to what was trained for it."""
        self.networks["generator"].save_pretrained(folder / "generator")

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray | None:
        """A row each: source, same, other; self, same and cross pictures; neutral."""
        if self.seen is None:
            return None
        source, same, other = (self.seen[name][:6] for name in ("source", "same", "other"))
        networks = {name: self.averaged(name) for name in ("encoder", "transformer", "generator")}
        made, codes = self.reenact(networks, source, [source, same, other])
        neutral = self.neutral_image(codes)
        return tile([list(row) for row in zip(source, same, other, *made, neutral, strict=True)])

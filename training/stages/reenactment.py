"""Stage I: encoder and transformer against a frozen generator (ViVFace, sec. "Stage I").

Every sample is three images: S and D1 from one video, D2 of another person. With E the encoder, T the transformer, G
the generator, w and M the identity code and the memory of S:

    self        G(A(w) + T(S's motion, M))    must give S
    same        G(A(w) + T(D1's motion, M))   must give D1
    cross       G(A(w) + T(D2's motion, M))   has no target: must encode to w and to D2's motion again, and look like S
    neutral     G(A(w)), or G(A(w) + T(0, M)) must look like S

Weights as published: MSE 1, perceptual 0.8, gradient variance 0.01 (self and same); identity 0.1 (cross and neutral);
consistency of w 1 and of motion 1; a discriminator of encoded against mapped w 0.1; mean square of D1's motion codes
2e-4. All losses see images pooled to the encoder's size. The encoder's trunk starts from the recognizer's
(`networks.encoder.trunk`), and images are made with fresh noise.

`transformer: none` leaves T out (table 2 of the paper): motion codes are added as they are. `trained: heads` trains the
encoder's heads and T alone, as the fine-tuning of Hybrid Latent Spaces does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arguments import Options, option
from training.code_pool import CodePool
from training.data import PairBatches, open_clips
from training.losses import discriminator_loss, generator_loss, gradient_variance, identity_loss, r1_penalty
from training.networks import frozen, reenact
from training.perceptual import build_perceptual
from training.scores import held_out_pairs, image_scores
from training.stages.base import Stage, tile
from vivface.errors import OptionError
from vivface.models import (
    DeformationTransformer,
    HybridEncoder,
    IdentityNetwork,
    LatentDiscriminator,
    StyleGAN2Generator,
)


class ReenactmentOptions(Options):
    """Settings of stage I; the defaults are the published ones."""

    perceptual: Literal["lpips-alex", "recognizer-features"] = option(
        "lpips-alex", "'lpips-alex' (needs its weights) or 'recognizer-features' (networks.recognizer)"
    )
    neutral: Literal["zero", "transformed"] = option(
        "zero", "neutral image: 'zero' = G(A(w)), the paper; 'transformed' = G(A(w) + T(0, M)), the authors' code"
    )
    transformer: Literal["trained", "none"] = option("trained", "'none': no T, motion codes are added as they are")
    trained: Literal["all", "heads"] = option("all", "'heads': the encoder's trunk and pyramid stay as they are")
    noise: Literal["random", "fixed"] = option("random", "noise maps of the generator: fresh, as published, or its own")
    pixel: float = option(1.0, "weight of the mean squared error of self and same")
    features: float = option(0.8, "weight of the perceptual distance of self and same")
    gradient_variance: float = option(0.01, "weight of the gradient variance loss of self and same")
    patch: int = option(8, "size of the gradient variance patches, pixels")
    identity: float = option(0.1, "weight of the identity loss of neutral and cross")
    identity_consistency: float = option(1.0, "weight of re-encoding w from cross")
    motion_consistency: float = option(1.0, "weight of re-encoding D2's motion from cross")
    motion_norm: float = option(2e-4, "weight of the mean square of D1's motion codes")
    adversarial: float = option(0.1, "weight of the latent discriminator in the encoder's loss, 0 for none")
    r1: float = option(10.0, "R1 weight of the latent discriminator")
    r1_every: int = option(16, "steps between R1 terms")
    pool: int = option(50, "codes kept for the latent discriminator")


@dataclass
class SourceCodes:
    """Codes of sources and of what drives them.

    Attributes:
        identity (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): W+ of the sources.
        memory (`torch.Tensor` of shape `(batch, tokens, style_dim)`): Their memory.
        motions (list of `torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Of each set of driving frames.
    """

    identity: Tensor
    memory: Tensor
    motions: list[Tensor]


class ReenactmentStage(Stage):
    """Train `encoder` and `transformer` (optimiser `main`) and `latent_discriminator` (optimiser of that name)."""

    options_class = ReenactmentOptions

    def build(self) -> None:
        """Add the frozen generator and recognizer, and the trained networks shaped to fit them.

        Raises:
            OptionError: If encoder, generator and data do not fit together.
        """
        generator = self.add_network("generator", self.make(StyleGAN2Generator, "generator"), trained=False)
        self.add_network("recognizer", self.make(IdentityNetwork, "recognizer"), trained=False)
        style_dim = generator.config.style_dim
        shape = {"num_latents": generator.num_latents, "motion_codes": generator.config.motion_codes}
        encoder = self.make(HybridEncoder, "encoder", style_dim=style_dim, **shape)
        if encoder.config.num_latents != generator.num_latents:
            raise OptionError(
                f"networks.encoder.num_latents is {encoder.config.num_latents}, expected {generator.num_latents} for a "
                f"generator of size {generator.config.size}"
            )
        self.check_data_size(encoder.config.image_size, "encoder")
        if not self.is_pretrained("encoder"):
            encoder.latent_avg.copy_(generator.latent_avg)
        self.add_network("encoder", encoder, average=True)
        parts: list[nn.Module] = [encoder]
        if self.options.trained == "heads":
            encoder.requires_grad_(False).eval()
            parts = [heads.train().requires_grad_(True) for heads in (encoder.identity_heads, encoder.motion_heads)]
        if self.options.transformer == "trained":
            transformer = self.make(DeformationTransformer, "transformer", style_dim=style_dim)
            parts.append(self.add_network("transformer", transformer, average=True))
        discriminator = self.make(LatentDiscriminator, "latent_discriminator", style_dim=style_dim)
        self.add_network("latent_discriminator", discriminator)
        self.perceptual = build_perceptual(self.options.perceptual, self.networks["recognizer"]).to(self.device)
        self.add_optimizer("main", parameters=[p for part in parts for p in part.parameters()])
        self.add_optimizer("latent_discriminator", "latent_discriminator")
        self.real_codes, self.encoded_codes = CodePool(self.options.pool), CodePool(self.options.pool)
        self.last_batch: dict[str, Tensor] | None = None

    def dataset(self) -> PairBatches:
        """Triples `source`, `same` and `other`: S, D1 and D2."""
        return PairBatches(open_clips(self.preset.data), self.preset.data, self.preset.loop.seed)

    def validation_dataset(self) -> PairBatches:
        """Triples of people that are not trained on, not augmented."""
        return held_out_pairs(self.preset)

    def validate(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """How well the averaged networks render own frames (`same`) and another person's motion (`cross`)."""
        source, same, other = batch["source"], batch["same"], batch["other"]
        networks = {name: self.averaged(name) for name in self.networks}
        (on_same, cross), codes = self.drive(networks, source, [same, other])
        scores = {f"same/{name}": value for name, value in image_scores(on_same, same, self.perceptual).items()}
        recognizer, motion = self.networks["recognizer"], codes.motions[1].float()
        scores["cross/identity"] = (recognizer.embed(source) * recognizer.embed(cross)).sum(1).mean()
        again = networks["encoder"](cross, identity=False, memory=False).motion.float()
        scores["cross/motion"] = (again - motion).square().mean() / motion.var(0).mean().clamp_min(1e-12)
        return scores

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update encoder and transformer, then the latent discriminator.

        Args:
            batch (`dict[str, torch.Tensor]`): An item of `PairBatches`.

        Returns:
            `dict`: Weighted terms, their sum, and the discriminator's loss.
        """
        options, encoder = self.options, self.networks["encoder"]
        source, same, other = batch["source"], batch["same"], batch["other"]
        self.last_batch = batch

        # 1. Encode, generate.
        with self.autocast():
            images, codes = self.drive(self.networks, source, [source, same, other], options.noise)
            on_self, on_same, cross = images
            neutral = self.neutral_image(self.networks, codes, options.noise)
            again = encoder(cross, memory=False)
        w = codes.identity.float()
        motion_same, motion_other = (motion.float() for motion in codes.motions[1:])

        # 2. Self and same, which have a target.
        terms: dict[str, Tensor] = {}
        for name, image, target in (("self", on_self, source), ("same", on_same, same)):
            terms[f"{name}/pixel"] = options.pixel * F.mse_loss(image, target)
            with self.autocast():
                terms[f"{name}/features"] = options.features * self.perceptual(image, target).float()
            variance = gradient_variance(image, target, options.patch)
            terms[f"{name}/gradient_variance"] = options.gradient_variance * variance

        # 3. Cross and neutral, which have none: identity of both, both codes of cross.
        with self.autocast():
            recognizer = self.networks["recognizer"]
            with torch.no_grad():
                person = recognizer.embed(source)
            losses = [identity_loss(recognizer.embed(image), person) for image in (neutral, cross)]
        terms["identity"] = options.identity * sum(losses).float()
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

    def drive(
        self, networks: dict[str, nn.Module], source: Tensor, driving: list[Tensor], noise: str = "fixed"
    ) -> tuple[list[Tensor], SourceCodes]:
        """Every set of driving frames on the sources.

        Args:
            networks (`dict[str, nn.Module]`): `encoder`, `generator` and, unless it is left out, `transformer`.
            source (`torch.Tensor` of shape `(batch, 3, size, size)`): In [-1, 1].
            driving (`list[torch.Tensor]`): Of the same shape; the source itself may be among them.
            noise (`str`, *optional*, defaults to `"fixed"`): The generator's noise maps.

        Returns:
            `tuple`: Float32 images at the encoder's size, one batch per set of driving frames, and the codes.
        """
        encoder = networks["encoder"]
        codes = encoder(source)
        motions = [
            codes.motion if frames is source else encoder(frames, identity=False, memory=False).motion
            for frames in driving
        ]
        results = [reenact(networks, codes.identity, codes.memory, motion, noise=noise) for motion in motions]
        images = [self.pool(result.image) for result in results]
        return images, SourceCodes(codes.identity, codes.memory, motions)

    def neutral_image(self, networks: dict[str, nn.Module], codes: SourceCodes, noise: str = "fixed") -> Tensor:
        """The sources without motion, by `options.neutral`: float32, at the encoder's size."""
        motion = torch.zeros_like(codes.motions[0]) if self.options.neutral == "transformed" else None
        return self.pool(reenact(networks, codes.identity, codes.memory, motion, noise=noise).image)

    def pool(self, image: Tensor) -> Tensor:
        """Images of the generator averaged down to the encoder's size, in float32."""
        return F.adaptive_avg_pool2d(image.float(), self.networks["encoder"].config.image_size)

    def train_discriminator(self, w: Tensor) -> dict[str, Tensor]:
        """One step of the latent discriminator on codes of the mapping network and encoded ones `w`."""
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

    def checkpoint_extra(self, folder: Path) -> None:
        """Write the frozen generator too: the trained networks fit no other."""
        self.networks["generator"].save_pretrained(folder / "generator")

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray | None:
        """Rows of: source, same, other; self, same and cross images; neutral."""
        if self.last_batch is None:
            return None
        source, same, other = (self.last_batch[name][:6] for name in ("source", "same", "other"))
        networks = {name: self.averaged(name) for name in self.networks}
        images, codes = self.drive(networks, source, [source, same, other])
        neutral = self.neutral_image(networks, codes)
        return tile([list(row) for row in zip(source, same, other, *images, neutral, strict=True)])

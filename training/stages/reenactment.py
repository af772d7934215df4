"""Stage I: encoder and transformer against a frozen generator (ViVFace, sec. "Stage I"), and its earlier form.

Every sample is three images: S and D1 from one video, D2 of another person. With E the encoder, T the transformer, G
the generator, w and M the identity code and the memory of S:

    self        G(A(w) + T(S's motion, M))    must give S
    same        G(A(w) + T(D1's motion, M))   must give D1
    cross       G(A(w) + T(D2's motion, M))   has no target: must encode to w and to D2's motion again, and look like S
    neutral     G(A(w)), or G(A(w) + T(0, M)) must look like S

Weights as published: MSE 1, perceptual 0.8, gradient variance 0.01 (self and same); identity 0.1 (cross and neutral);
consistency of w 1 and of motion 1; a discriminator of encoded against mapped w 0.1; mean square of D1's motion codes
2e-4. All losses see images pooled to the encoder's size. The encoder's trunk starts from the recognizer's
(`networks.encoder.trunk`), and images are made with fresh noise. `transformer: false` is the paper's table 2.

By options it is the training of Robust One-Shot Face Video Re-enactment using Hybrid Latent Spaces of StyleGAN2 (ICCV
2023), eq. 5-14, as the presets `hybrid-...` set it: no T (`transformer: false`), codes compared and measured by norms
(`norms: plain`, eq. 10 and 12), offsets of w kept small (`delta`, eq. 11-12), mouth, eyes and brows of self and same
reconstructed once more (`regions`, eq. 13), no consistency of motion, and in the second of its two steps only the
encoder's heads trained (`trained: heads`).
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
from training.losses import (
    code_distance,
    code_size,
    delta_size,
    discriminator_loss,
    generator_loss,
    gradient_variance,
    identity_loss,
    r1_penalty,
)
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
    pixel: float = option(1.0, "weight of the mean squared error of self and same")
    features: float = option(0.8, "weight of the perceptual distance of self and same")
    gradient_variance: float = option(0.01, "weight of the gradient variance loss of self and same")
    patch: int = option(8, "size of the gradient variance patches, pixels")
    regions: float = option(
        0.0, "weight of the same terms where only mouth, eyes and brows are seen (eq. 13 of hybrid)"
    )
    identity: float = option(0.1, "weight of the identity loss of neutral and cross")
    identity_consistency: float = option(1.0, "weight of re-encoding w from cross")
    motion_consistency: float = option(1.0, "weight of re-encoding D2's motion from cross")
    motion_norm: float = option(2e-4, "weight of the size of D1's motion codes")
    delta: float = option(0.0, "weight of the norms of w's offsets from its first vector (eq. 11-12 of hybrid)")
    norms: Literal["squared", "plain"] = option(
        "squared", "codes are compared and measured by 'squared' means (ViVFace's code) or 'plain' norms (hybrid)"
    )
    transformer: bool = option(True, "whether T fits motion codes to the source; hybrid latent spaces have none")
    motion_space: Literal["stylespace", "w_plus"] = option(
        "stylespace", "motion codes are added to 'stylespace', or to 'w_plus': the ablation without hybrid spaces"
    )
    noise: Literal["random", "fixed"] = option("random", "noise maps of the generator: fresh, as published, or its own")
    trained: Literal["all", "heads"] = option("all", "what of the encoder is trained; 'heads': the trunk is frozen")
    adversarial: float = option(0.1, "weight of the latent discriminator in the encoder's loss, 0 for none")
    r1: float = option(10.0, "R1 weight of the latent discriminator")
    r1_every: int = option(16, "steps between R1 terms")
    pool: int = option(50, "codes kept for the latent discriminator")


@dataclass
class SourceCodes:
    """Codes of sources and of what drives them.

    Attributes:
        identity (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): W+ of the sources.
        memory (`torch.Tensor` of shape `(batch, tokens, style_dim)`, *optional*): Their memory, for the transformer.
        motions (list of `torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Of each set of driving frames.
    """

    identity: Tensor
    memory: Tensor | None
    motions: list[Tensor]


class ReenactmentStage(Stage):
    """Train `encoder` and `transformer` (optimiser `main`) and `latent_discriminator` (optimiser of that name)."""

    options_class = ReenactmentOptions

    def build(self) -> None:
        """Add the frozen generator and recognizer, and the trained networks shaped to fit them.

        Raises:
            OptionError: If encoder, generator, data or two options do not fit together.
        """
        options = self.options
        if not options.transformer and options.neutral == "transformed":
            raise OptionError("options.neutral is 'transformed' without a transformer, expected 'zero'")
        if options.transformer and options.motion_space == "w_plus":
            raise OptionError("options.motion_space is 'w_plus' with a transformer, expected transformer=false")
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
        kinds = {"transformer": DeformationTransformer} if options.transformer else {}
        for name, kind in (kinds | {"latent_discriminator": LatentDiscriminator}).items():
            self.add_network(name, self.make(kind, name, style_dim=style_dim), average=name == "transformer")
        self.perceptual = build_perceptual(options.perceptual, self.networks["recognizer"]).to(self.device)
        if options.trained == "heads":
            encoder.requires_grad_(False).eval()
            for heads in (encoder.identity_heads, encoder.motion_heads):
                heads.requires_grad_(True).train()
        trained = [p for name in ("encoder", *kinds) for p in self.networks[name].parameters() if p.requires_grad]
        self.add_optimizer("main", parameters=trained)
        self.add_optimizer("latent_discriminator", "latent_discriminator")
        self.real_codes, self.encoded_codes = CodePool(self.options.pool), CodePool(self.options.pool)
        self.last_batch: dict[str, Tensor] | None = None

    def dataset(self) -> PairBatches:
        """Triples `source`, `same` and `other`: S, D1 and D2."""
        data, seed = self.preset.data, self.preset.loop.seed
        return PairBatches(open_clips(data, seed=seed), data, seed, masks=self.options.regions > 0)

    def validation_dataset(self) -> PairBatches:
        """Triples of people that are not trained on, not augmented."""
        return held_out_pairs(self.preset, masks=self.options.regions > 0)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update encoder and transformer, then the latent discriminator.

        Args:
            batch (`dict[str, torch.Tensor]`): An item of `PairBatches`.

        Returns:
            `dict`: Weighted terms, their sum, and the discriminator's loss.
        """
        self.last_batch = batch
        terms, codes = self.losses(self.networks, batch, self.options.noise)[:2]
        loss = torch.stack(list(terms.values())).sum()
        self.update("main", loss)
        scalars: dict[str, Tensor | float] = {"loss": loss, **terms}
        if self.options.adversarial > 0:
            scalars |= self.train_discriminator(codes.identity.float())
        return scalars

    def losses(
        self, networks: dict[str, nn.Module], batch: dict[str, Tensor], noise: str = "fixed"
    ) -> tuple[dict[str, Tensor], SourceCodes, dict[str, Tensor]]:
        """All terms of encoder and transformer.

        Args:
            networks (`dict[str, nn.Module]`): Those of the stage, or averaged ones.
            batch (`dict[str, torch.Tensor]`): An item of `PairBatches`.
            noise (`str`, *optional*, defaults to `"fixed"`): The generator's noise maps.

        Returns:
            `tuple`: Weighted terms, the codes, and the images of self and same.
        """
        options = self.options
        source, same, other = batch["source"], batch["same"], batch["other"]

        # 1. Encode, generate.
        with self.autocast():
            images, codes = self.drive(networks, source, [source, same, other], noise)
            on_self, on_same, cross = images
            neutral = self.neutral_image(networks, codes, noise)
            again = networks["encoder"](cross, memory=False)
        w = codes.identity.float()
        motion_same, motion_other = (motion.float() for motion in codes.motions[1:])

        # 2. Self and same, which have a target; once more their mouths, eyes and brows alone.
        terms: dict[str, Tensor] = {}
        for name, image, target in (("self", on_self, source), ("same", on_same, same)):
            terms |= self.reconstruction(name, image, target)
            if options.regions > 0:
                mask = batch["source_mask" if name == "self" else "same_mask"]
                seen = self.reconstruction(name, mask * image, mask * target)
                terms[f"{name}/regions"] = options.regions * torch.stack(list(seen.values())).sum()

        # 3. Cross and neutral, which have none: identity of both, both codes of cross.
        with self.autocast():
            recognizer = self.networks["recognizer"]
            with torch.no_grad():
                person = recognizer.embed(source)
            losses = [identity_loss(recognizer.embed(image), person) for image in (neutral, cross)]
        terms["identity"] = options.identity * sum(losses).float()
        identity_again, motion_again = again.identity.float(), again.motion.float()
        terms["identity_consistency"] = options.identity_consistency * code_distance(identity_again, w, options.norms)
        distance = code_distance(motion_again, motion_other, options.norms)
        terms["motion_consistency"] = options.motion_consistency * distance
        terms["motion_norm"] = options.motion_norm * code_size(motion_same, options.norms)
        terms["delta"] = options.delta * delta_size(w)

        # 4. Codes like those of the mapping network.
        discriminator = self.networks["latent_discriminator"]
        if options.adversarial > 0:
            with frozen(discriminator):
                terms["adversarial"] = options.adversarial * generator_loss(discriminator(w.flatten(0, 1)))
        return terms, codes, {"self": on_self, "same": on_same, "neutral": neutral, "cross": cross}

    def reconstruction(self, name: str, image: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Pixels, features and gradient variance of an image `(batch, 3, size, size)` against its target, weighted."""
        options = self.options
        terms = {f"{name}/pixel": options.pixel * F.mse_loss(image, target)}
        with self.autocast():
            terms[f"{name}/features"] = options.features * self.perceptual(image, target).float()
        variance = gradient_variance(image, target, options.patch)
        return terms | {f"{name}/gradient_variance": options.gradient_variance * variance}

    def drive(
        self, networks: dict[str, nn.Module], source: Tensor, driving: list[Tensor], noise: str = "fixed"
    ) -> tuple[list[Tensor], SourceCodes]:
        """Every set of driving frames on the sources.

        Args:
            networks (`dict[str, nn.Module]`): `encoder`, `generator` and, if there is one, `transformer`.
            source (`torch.Tensor` of shape `(batch, 3, size, size)`): In [-1, 1].
            driving (`list[torch.Tensor]`): Of the same shape; the source itself may be among them.
            noise (`str`, *optional*, defaults to `"fixed"`): The generator's noise maps.

        Returns:
            `tuple`: Float32 images at the encoder's size, one batch per set of driving frames, and the codes.
        """
        encoder = networks["encoder"]
        codes = encoder(source, memory=self.options.transformer)
        motions = [
            codes.motion if frames is source else encoder(frames, identity=False, memory=False).motion
            for frames in driving
        ]
        images = [self.show(networks, codes.identity, codes.memory, motion, noise) for motion in motions]
        return images, SourceCodes(codes.identity, codes.memory, motions)

    def show(
        self,
        networks: dict[str, nn.Module],
        identity: Tensor,
        memory: Tensor | None,
        motion: Tensor | None,
        noise: str = "fixed",
    ) -> Tensor:
        """Sources with a motion each, or without: float32, at the encoder's size."""
        if motion is not None and self.options.motion_space == "w_plus":
            identity = identity + F.pad(motion, (0, 0, 0, identity.shape[1] - motion.shape[1]))
            motion = None
        return self.pool(reenact(networks, identity, memory, motion, noise=noise).image)

    def neutral_image(self, networks: dict[str, nn.Module], codes: SourceCodes, noise: str = "fixed") -> Tensor:
        """The sources without motion, by `options.neutral`: float32, at the encoder's size."""
        motion = torch.zeros_like(codes.motions[0]) if self.options.neutral == "transformed" else None
        return self.show(networks, codes.identity, codes.memory, motion, noise)

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

    def _averaged_networks(self) -> dict[str, nn.Module]:
        names = ("encoder", "transformer", "generator")
        return {name: self.averaged(name) for name in names if name in self.networks}

    def validate(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every term, scores of self and same, and of cross and neutral likeness to the source and the motion."""
        networks, recognizer = self._averaged_networks(), self.networks["recognizer"]
        terms, codes, images = self.losses(networks, batch)
        scores = {"loss": torch.stack(list(terms.values())).sum(), **terms}
        for name, target in (("self", "source"), ("same", "same")):
            found = image_scores(images[name], batch[target], self.perceptual)
            scores |= {f"{measure}/{name}": value for measure, value in found.items()}
        person = recognizer.embed(batch["source"])
        for name in ("neutral", "cross"):
            scores[f"likeness/{name}"] = 1 - identity_loss(recognizer.embed(images[name]), person)
        motion = codes.motions[2].float()
        again = networks["encoder"](images["cross"], identity=False, memory=False).motion.float()
        spread = (motion - motion.mean(0)).square().mean()
        scores["motion_error/cross"] = (again - motion).square().mean() / spread.clamp_min(1e-12)
        return scores

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray | None:
        """Rows of: source, same, other; self, same and cross images; neutral."""
        if self.last_batch is None:
            return None
        source, same, other = (self.last_batch[name][:6] for name in ("source", "same", "other"))
        networks = self._averaged_networks()
        images, codes = self.drive(networks, source, [source, same, other])
        neutral = self.neutral_image(networks, codes)
        return tile([list(row) for row in zip(source, same, other, *images, neutral, strict=True)])

"""StyleGAN3 stage: an alias-free generator learns to draw known people, its transformation being a known input.

As in the autodecoder stage, every look (a synthetic person in a light) gets a free code in W, and pose and expression
enter as linear maps of their labels. The codes start as principal components of small frontal pictures: similar looks
are neighbours from the first step, where random codes would be seen a few times each and learnt by heart. Motion enters
in the rows of W+ in which Video2StyleGAN looks for it, see `codes.py`. Crops lie turned and moved at random, and the
Fourier features are told how.

Terms (weights in the preset):
    picture     pixels and edges at three scales, regions weighted
    motion      error in the differences between the images of a look, see `training.losses.motion_error`
    look_norm   mean square of the codes of the looks
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from training.arguments import Options, option
from training.data import region_weights
from training.data.face_frames import FaceFrames
from training.data.moved_faces import MovedFaceBatches
from training.losses import motion_error, psnr, pyramid_l1
from training.stages.base import Stage, tile
from training.stages.stylegan3.codes import LOOK_SIZE, Looks, MotionRows, known_codes
from vivface.faces.alignment import crop_quad
from vivface.models.face_state import CONTROLS
from vivface.models.stylegan3 import StyleGAN3Generator

MEASURED = 4096  # frames whose labels are standardised
PICTURE_SIZE = 32  # pixels of the pictures from which the codes of looks start


class StyleGAN3Options(Options):
    """Settings of the StyleGAN3 stage."""

    edges: float = option(1.0, "weight of the edge term inside the pixel term")
    motion: float = option(0.2, "weight of the error in the differences between a look's images")
    look_norm: float = option(1e-3, "weight of the mean square of the looks' codes")
    regions: dict[str, float] = option(
        {"face": 1.0, "eyes": 4.0, "brows": 1.0, "mouth": 4.0}, "additional weight of a region's pixels"
    )
    codes_lr: float = option(
        1.0, "learning rate of the looks' codes as a multiple of the optimiser's; 0: they stay as they start"
    )
    motion_lr: float = option(0.1, "the same for the maps from labels to codes")
    affine_lr: float = option(1.0, "the same for the affine maps from W+ to styles")
    oversampling_from: float = option(
        0.6, "fraction of the run from which the leaky ReLU is oversampled, as published; drafts before it cost a third"
    )
    magnitude_decay: float = option(0.99, "share of the old value in the running magnitudes of the layers' inputs")


class StyleGAN3Stage(Stage):
    """Train `generator`, `looks` and `motion_rows`; optimiser `main`."""

    options_class = StyleGAN3Options

    def build(self) -> None:
        """Add the generator, the codes and an optimiser.

        Raises:
            OptionError: If the data have another size than the generator, or folders hold no fitting shards.
        """
        options, data = self.options, self.preset.data
        generator = self.add_network("generator", self.make(StyleGAN3Generator, "generator"), average=True)
        self.check_data_size(generator.config.size, "generator")
        self.batches = MovedFaceBatches(FaceFrames(data.folders, CONTROLS), data, self.preset.loop.seed)
        width = generator.config.style_dim
        shape = dict(controls=len(CONTROLS), num_latents=generator.num_latents, style_dim=width)
        motion = self.make(MotionRows, "motion_rows", **shape)
        if not self.is_pretrained("motion_rows"):
            motion.measure(frame_labels(self.batches.frames))
        self.add_network("motion_rows", motion, average=True)
        count = len(self.batches.frames.looks)
        looks = self.make(Looks, "looks", count=count, style_dim=width)
        if not self.is_pretrained("looks"):
            with torch.no_grad():
                looks.codes.copy_(picture_codes(self.batches.frames, width))
        self.add_network("looks", looks, average=True)
        affine = [p for name, p in generator.named_parameters() if "modulation" in name]
        other = [p for name, p in generator.named_parameters() if "modulation" not in name and "mapping" not in name]
        groups = [
            {"params": other},
            {"params": affine, "lr_scale": options.affine_lr},
            {"params": list(self.networks["looks"].parameters()), "lr_scale": options.codes_lr},
            {"params": list(motion.parameters()), "lr_scale": options.motion_lr},
        ]
        self.add_optimizer("main", parameters=groups)
        self.oversampling = 2
        self.last_batch: dict[str, Tensor] | None = None

    def dataset(self) -> MovedFaceBatches:
        """Looks by motions, in crops that lie turned and moved."""
        return self.batches

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update all networks.

        Args:
            batch (`dict[str, torch.Tensor]`): Of `MovedFaceBatches`.

        Returns:
            `dict`: Weighted terms, their sum, PSNR and the share of the motion that is shown.
        """
        options, target = self.options, batch["image"]
        self.last_batch = {name: value[:4, :4] if value.dim() > 1 else value[:4] for name, value in batch.items()}
        grid = target.shape[:2]
        self._oversample(1 if self.fraction() < options.oversampling_from else 2)
        weight = region_weights(batch["regions"].float() / 255, 1.0, **options.regions).flatten(0, 1)
        weight, target = weight / weight.mean(), target.flatten(0, 1)
        with self.autocast():
            image = draw(self.networks, batch, options.magnitude_decay)
        image = image.float()
        motion, motion_share = motion_error(*(x.unflatten(0, (1, *grid)) for x in (image, target, weight)))
        terms = {
            "picture": pyramid_l1(image, target, weight, edge_weight=options.edges),
            "motion": options.motion * motion,
            "look_norm": options.look_norm * self.networks["looks"].codes.square().mean(),
        }
        loss = sum(terms.values())
        self.update("main", loss)
        with torch.no_grad():
            self.networks["generator"].latent_avg.copy_(self.networks["looks"].codes.mean(0))
        return {"loss": loss, "psnr": psnr(image, target), "motion_share": motion_share, **terms}

    def _oversample(self, factor: int) -> None:
        """Let the trained generator work at a multiple of its rates; its average always does as published."""
        if factor != self.oversampling:
            self.networks["generator"].use_oversampling(factor)
            self.oversampling = factor

    def sample_grid(self) -> np.ndarray | None:
        """A row per look: target and output of each motion."""
        if self.last_batch is None:
            return None
        with torch.no_grad():
            image = draw({name: self.averaged(name) for name in self.networks}, self.last_batch)
        looks, motions = self.last_batch["image"].shape[:2]
        target = self.last_batch["image"].flatten(0, 1)
        return tile([[x[p * motions + j] for j in range(motions) for x in (target, image)] for p in range(looks)])


def draw(networks: dict[str, nn.Module], batch: dict[str, Tensor], magnitude_decay: float | None = None) -> Tensor:
    """Images `(P * J, 3, size, size)` of the looks and motions of a batch of `MovedFaceBatches`."""
    w_plus = known_codes(networks["looks"], networks["motion_rows"], batch)
    transform = batch["transform"].flatten(0, 1)
    return networks["generator"](w_plus, transform=transform, magnitude_decay=magnitude_decay)


def picture_codes(frames: FaceFrames, width: int) -> Tensor:
    """Codes `(looks, width)` of the most frontal picture of every look: principal components, almost whitened."""
    pictures = []
    for look in frames.looks:
        frontal = min(look, key=lambda k: float(np.square(frames.labels(k, frames.quad(k)).pose[:2]).sum()))
        pictures.append(crop_quad(frames.image(frontal), frames.quad(frontal), PICTURE_SIZE).astype(np.float32))
    pictures = torch.from_numpy(np.stack(pictures)).flatten(1)
    scores, spread, _ = torch.linalg.svd(pictures - pictures.mean(0), full_matrices=False)
    found = (scores * spread.pow(0.25))[:, :width]
    codes = torch.zeros(len(pictures), width)
    codes[:, : found.shape[1]] = found
    return codes * LOOK_SIZE / codes.square().mean().sqrt().clamp_min(1e-6)


def frame_labels(frames: FaceFrames) -> Tensor:
    """Pose and controls `(count, 3 + K)` in the canonical crops of evenly spaced frames."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(MEASURED, len(frames))).round().astype(int))
    labels = [frames.labels(k, frames.quad(k)) for k in chosen.tolist()]
    return torch.from_numpy(np.float32([np.concatenate([x.pose, x.controls]) for x in labels]))

"""StyleGAN3 inversion stage: an encoder learns to find the codes of a StyleGAN3 run in photographs of the same people.

The generator and the codes are frozen. Terms (weights in the preset):

    codes       squared error of W+, in variances
    labels      squared error of pose and controls decoded from W+, in variances; see `MotionRows.decode`
    visible     the same of pose and controls as a linear map, thrown away afterwards, reads them from the memory
    picture     pixels and edges of what the generator makes of the codes, regions weighted

Photographs differ from the renders in colour, blur, noise and a little in their crop; what is asked for is the code of
the render.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from training.arguments import Options, option
from training.data import region_weights
from training.data.face_frames import FaceFrames
from training.data.moved_faces import MovedFaceBatches
from training.ground_truth import code_error
from training.losses import psnr, pyramid_l1
from training.stages.base import Stage, tile
from training.stages.stylegan3.codes import ANGLES, Looks, MotionRows, known_codes
from vivface.models import HybridEncoder
from vivface.models.face_state import CONTROLS
from vivface.models.stylegan3 import StyleGAN3Generator


class InversionOptions(Options):
    """Settings of the StyleGAN3 inversion stage."""

    codes: float = option(0.5, "weight of the squared error of W+, as a fraction of its variance")
    labels: float = option(0.5, "weight of the squared error of the labels decoded from W+, in variances")
    visible: float = option(1.0, "weight of the same of the labels that are read from the memory")
    picture: float = option(1.0, "weight of the error of the generator's image")
    picture_from: float = option(0.4, "fraction of the run from which images are generated")
    pictures: int = option(8, "images generated in a step")
    regions: dict[str, float] = option(
        {"face": 1.0, "eyes": 4.0, "brows": 1.0, "mouth": 4.0}, "additional weight of a region's pixels"
    )


class InversionStage(Stage):
    """Train `inversion` under a frozen `generator`, `looks` and `motion_rows`; optimiser `main`."""

    options_class = InversionOptions

    def build(self) -> None:
        """Add the encoder, the frozen networks of a StyleGAN3 run, and the linear readout.

        Raises:
            OptionError: If the data have another size than the encoder, or folders hold no fitting shards.
        """
        data = self.preset.data
        generator = self.add_network("generator", self.make(StyleGAN3Generator, "generator"), trained=False)
        self.add_network("looks", self.make(Looks, "looks"), trained=False)
        self.add_network("motion_rows", self.make(MotionRows, "motion_rows"), trained=False)
        defaults = dict(num_latents=generator.num_latents, motion_codes=0, style_dim=generator.config.style_dim)
        encoder = self.make(HybridEncoder, "inversion", **defaults)
        self.check_data_size(encoder.config.image_size, "inversion")
        if not self.is_pretrained("inversion"):
            encoder.latent_avg.copy_(generator.latent_avg)
        self.add_network("inversion", encoder, average=True)
        tokens = (encoder.config.image_size // 16) ** 2
        readout = nn.Sequential(nn.Flatten(), nn.Linear(tokens * encoder.config.style_dim, ANGLES + len(CONTROLS)))
        self.add_network("readout", readout)
        self.add_optimizer("main", "inversion", "readout")
        self.batches = MovedFaceBatches(FaceFrames(data.folders, CONTROLS), data, self.preset.loop.seed, True)
        self.last_batch: dict[str, Tensor] | None = None

    def dataset(self) -> MovedFaceBatches:
        """Looks by motions, with photographs of them."""
        return self.batches

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update the encoder.

        Args:
            batch (`dict[str, torch.Tensor]`): Of `MovedFaceBatches`, with photographs.

        Returns:
            `dict`: Weighted terms and their sum; PSNR while images are generated.
        """
        options, motion = self.options, self.networks["motion_rows"]
        self.last_batch = {name: value[:4, :4] if value.dim() > 1 else value[:4] for name, value in batch.items()}
        target = known_codes(self.networks["looks"], motion, batch)
        labels = motion.standardized(batch["pose"], batch["controls"]).flatten(0, 1)
        with self.autocast():
            found = self.networks["inversion"](batch["photograph"].flatten(0, 1), motion=False)
            visible = self.networks["readout"](found.memory)
        codes = found.identity.float()
        errors = {
            "codes": code_error(codes, target),
            "labels": motion.decode(codes - target).square().mean(),
            "visible": (visible.float() - labels).square().mean(),
        }
        scalars = {}
        if options.picture > 0 and self.fraction() >= options.picture_from:
            errors["picture"], scalars["psnr"] = self._picture(batch, codes)
        terms = {name: getattr(options, name) * each for name, each in errors.items()}
        loss = sum(terms.values())
        self.update("main", loss)
        return {"loss": loss, **terms, **scalars}

    def _picture(self, batch: dict[str, Tensor], codes: Tensor) -> tuple[Tensor, Tensor]:
        """Error and PSNR of the images of the first codes."""
        count, size = self.options.pictures, self.networks["generator"].config.size
        target, regions = (batch[name].flatten(0, 1)[:count].float() for name in ("image", "regions"))
        if target.shape[-1] != size:
            target, regions = (nn.functional.interpolate(x, (size, size), mode="area") for x in (target, regions))
        weight = region_weights(regions / 255, 1.0, **self.options.regions)
        with self.autocast():
            image = self.networks["generator"](codes[:count], transform=batch["transform"].flatten(0, 1)[:count])
        image = image.float()
        return pyramid_l1(image, target, weight / weight.mean()), psnr(image, target)

    def sample_grid(self) -> np.ndarray | None:
        """A row per look: photograph, and what the generator makes of its codes, for each motion."""
        if self.last_batch is None:
            return None
        photographs = self.last_batch["photograph"]
        looks, motions = photographs.shape[:2]
        size = self.networks["generator"].config.size
        with torch.no_grad():
            codes = self.averaged("inversion")(photographs.flatten(0, 1), motion=False, memory=False).identity
            images = self.networks["generator"](codes)
        seen = nn.functional.interpolate(photographs.flatten(0, 1), (size, size), mode="area")
        return tile([[x[p * motions + j] for j in range(motions) for x in (seen, images)] for p in range(looks)])

"""Identity network: a face becomes a unit vector whose angle to another's says whether it is the same person.

ArcFace (Deng et al., CVPR 2019, sec. 3.1) on the IR-SE-50 trunk.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from vivface.models.layers.norm import BatchNorm1d, BatchNorm2d
from vivface.models.layers.residual import ResidualTrunk
from vivface.models.precision import PrecisionMixin

CROP_256 = (35, 223, 32, 220)  # top, bottom, left, right of the face in an FFHQ-aligned 256x256 image


class IdentityNetwork(PrecisionMixin, ModelMixin, ConfigMixin):
    """Embed a face on the unit sphere. At the defaults it is the published IR-SE-50, parameter for parameter.

    Args:
        widths (`tuple[int, ...]`, *optional*): Channels of the stem and of the stages.
        units (`tuple[int, ...]`, *optional*): Residual units of the stages.
        embedding_dim (`int`, *optional*, defaults to 512): Entries of the embedding.
        image_size (`int`, *optional*, defaults to 112): Side of the input, a multiple of 2 to the number of stages.
        dropout (`float`, *optional*, defaults to 0.6): Before the linear layer, in training.

    Raises:
        ValueError: If the image size is no such multiple.
    """

    @register_to_config
    def __init__(
        self,
        widths: tuple[int, ...] = (64, 64, 128, 256, 512),
        units: tuple[int, ...] = (3, 4, 14, 3),
        embedding_dim: int = 512,
        image_size: int = 112,
        dropout: float = 0.6,
    ):
        super().__init__()
        if image_size % 2 ** len(units):
            raise ValueError(f"`image_size` is {image_size}; expected a multiple of {2 ** len(units)}.")
        side = image_size // 2 ** len(units)
        self.trunk = ResidualTrunk(widths, units)
        self.norm = BatchNorm2d(widths[-1])
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(widths[-1] * side * side, embedding_dim)
        self.output_norm = BatchNorm1d(embedding_dim)

    def features(self, image: Tensor) -> list[Tensor]:
        """Outputs of the trunk's stages, at 1/2, 1/4, 1/8 and 1/16 of an image in [-1, 1] of any side."""
        return self.trunk(image.contiguous(memory_format=torch.channels_last))

    def forward(self, image: Tensor) -> Tensor:
        """Embed a face crop.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1], cropped by `crop`.

        Returns:
            `torch.Tensor` of shape `(batch, embedding_dim)`: Of length 1.

        Raises:
            ValueError: If the image has another shape.
        """
        side = self.config.image_size
        if image.ndim != 4 or image.shape[1:] != (3, side, side):
            raise ValueError(f"`image` has shape {tuple(image.shape)}; expected (batch, 3, {side}, {side}).")
        return self.read(self.features(image))

    def read(self, features: Sequence[Tensor]) -> Tensor:
        """The embedding `(batch, embedding_dim)` of a crop of `image_size` that `features` gave."""
        x = self.drop(self.norm(features[-1]))
        x = self.output_norm(self.linear(x.flatten(1)))
        return x / x.norm(dim=1, keepdim=True)

    def crop(self, image: Tensor) -> Tensor:
        """Cut the face out of an FFHQ-aligned image.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, side, side)`): RGB; the crop is [35:223, 32:220] at side 256.

        Returns:
            `torch.Tensor` of shape `(batch, 3, image_size, image_size)`: Average-pooled.
        """
        top, bottom, left, right = (round(edge * image.shape[2] / 256) for edge in CROP_256)
        return F.adaptive_avg_pool2d(image[:, :, top:bottom, left:right], self.config.image_size)

    def embed(self, image: Tensor) -> Tensor:
        """Crop, then embed: `(batch, 3, side, side)` -> `(batch, embedding_dim)`."""
        return self(self.crop(image))

    def compare(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """How differently two batches of face crops are seen.

        Args:
            image, target (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1], cropped by
                `crop`. Gradients flow to `image` only.

        Returns:
            Two scalars in float32: 1 - cosine of the embeddings, averaged, and `feature_distance` of the stages.
        """
        with torch.no_grad():
            wanted = self.features(target)
            person = self.read(wanted).float()
        made = self.features(image)
        cosine = (self.read(made).float() * person).sum(dim=1)
        return (1.0 - cosine).mean(), feature_distance(made, wanted)


def feature_distance(made: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Distance of feature maps of several stages, each (batch, channels, height, width): LPIPS without its weights.

    As in LPIPS (Zhang et al., CVPR 2018, eq. 1) every feature vector is divided by its length, squared differences are
    summed over channels and averaged over places, and stages are averaged.
    """
    pairs = zip(made, wanted, strict=True)
    return torch.stack([(_unit(a) - _unit(b)).square().sum(1).mean() for a, b in pairs]).mean().float()


def _unit(feature: Tensor) -> Tensor:
    return feature / (feature.square().sum(1, keepdim=True) + 1e-10).sqrt()

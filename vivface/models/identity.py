"""Identity network: a face becomes a unit vector whose angle to another's says whether it is the same person.

ArcFace (Deng et al., CVPR 2019, sec. 3.1) on the IR-SE-50 trunk; R of ViVFace, eq. 6.
"""

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from vivface.models.layers.norm import BatchNorm1d, BatchNorm2d
from vivface.models.layers.pooling import average_pool
from vivface.models.layers.residual import ResidualTrunk
from vivface.models.precision import PrecisionMixin

CROP_256 = (35, 223, 32, 220)  # top, bottom, left, right of the face in an FFHQ-aligned 256x256 image


class IdentityNetwork(PrecisionMixin, ModelMixin, ConfigMixin):
    """Embed a face on the unit sphere. At the defaults it is the published IR-SE-50, parameter for parameter.

    Args:
        widths (`tuple[int, ...]`, *optional*): Channels of the stem and of the stages.
        units (`tuple[int, ...]`, *optional*): Residual units of the stages.
        embedding_dim (`int`, *optional*, defaults to 512): Entries of the embedding.
        image_size (`int`, *optional*, defaults to 112): Height and width of the input, a multiple of 2 to the number
            of stages.
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
        last_size = image_size // 2 ** len(units)
        self.trunk = ResidualTrunk(widths, units)
        self.norm = BatchNorm2d(widths[-1])
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(widths[-1] * last_size * last_size, embedding_dim)
        self.output_norm = BatchNorm1d(embedding_dim)

    def forward(self, image: Tensor) -> Tensor:
        """Embed a face crop.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1], cropped by `crop`.

        Returns:
            `torch.Tensor` of shape `(batch, embedding_dim)`: Of length 1.

        Raises:
            ValueError: If the image has another shape.
        """
        size = self.config.image_size
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"`image` has shape {tuple(image.shape)}; expected (batch, 3, {size}, {size}).")
        return self.read(self.features(image))

    def features(self, image: Tensor) -> list[Tensor]:
        """Feature maps of the trunk's stages.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, height, width)`): RGB in [-1, 1], of any size.

        Returns:
            `list[torch.Tensor]`: `(batch, widths[k + 1], height / 2^(k + 1), width / 2^(k + 1))` for every stage k.
        """
        return self.trunk(image.contiguous(memory_format=torch.channels_last))

    def read(self, features: Sequence[Tensor]) -> Tensor:
        """The embedding of a crop, from its feature maps.

        Args:
            features (`Sequence[torch.Tensor]`): From `features`, for an image of `image_size`.

        Returns:
            `torch.Tensor` of shape `(batch, embedding_dim)`: Of length 1.
        """
        x = self.drop(self.norm(features[-1]))
        x = self.output_norm(self.linear(x.flatten(1)))  # (batch, embedding_dim)
        return x / x.norm(dim=1, keepdim=True)

    def crop(self, image: Tensor) -> Tensor:
        """Cut the face out of an FFHQ-aligned image.

        Args:
            image (`torch.Tensor` of shape `(batch, channels, size, size)`): The crop is [35:223, 32:220] at size 256.

        Returns:
            `torch.Tensor` of shape `(batch, channels, image_size, image_size)`: Average-pooled.
        """
        top, bottom, left, right = (round(edge * image.shape[2] / 256) for edge in CROP_256)
        return average_pool(image[:, :, top:bottom, left:right], self.config.image_size)

    def embed(self, image: Tensor) -> Tensor:
        """Crop, then embed.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, size, size)`): FFHQ-aligned RGB in [-1, 1].

        Returns:
            `torch.Tensor` of shape `(batch, embedding_dim)`: Of length 1.
        """
        return self(self.crop(image))

    @apply_forward_hook
    def compare(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """How different two batches of face crops are (ViVFace, eq. 6, and a distance of feature maps).

        Args:
            image, target (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1], cropped by
                `crop`. Gradients flow to `image` only.

        Returns:
            Two scalars in float32: 1 - cosine of the embeddings, averaged, and `feature_distance` of the stages.
        """
        with torch.no_grad():
            target_features = self.features(target)
            target_embedding = self.read(target_features).float()
        features = self.features(image)
        cosine = (self.read(features).float() * target_embedding).sum(dim=1)
        return (1.0 - cosine).mean(), feature_distance(features, target_features)


def feature_distance(features: Sequence[Tensor], target_features: Sequence[Tensor]) -> Tensor:
    """Distance of feature maps of several stages: LPIPS (Zhang et al., CVPR 2018, eq. 1) without its weights.

    As there, every feature vector is divided by its length, squared differences are summed over channels and averaged
    over places, and stages are averaged.

    Args:
        features, target_features (`Sequence[torch.Tensor]`): `(batch, channels, height, width)` for every stage.

    Returns:
        `torch.Tensor`: A scalar in float32, in [0, 4].
    """
    return torch.stack([places.mean() for places in feature_distance_maps(features, target_features)]).mean().float()


def feature_distance_maps(features: Sequence[Tensor], target_features: Sequence[Tensor]) -> list[Tensor]:
    """Where feature maps differ: `feature_distance` before anything is averaged.

    Args:
        features, target_features (`Sequence[torch.Tensor]`): `(batch, channels, height, width)` for every stage.

    Returns:
        list of `torch.Tensor` of shape `(batch, height, width)`: Of every stage, in [0, 4].
    """
    return [(_unit(a) - _unit(b)).square().sum(1) for a, b in zip(features, target_features, strict=True)]


def _unit(feature: Tensor) -> Tensor:
    return feature / (feature.square().sum(1, keepdim=True) + 1e-10).sqrt()

"""Losses as pure functions of tensors; stages weight and add them.

Images are RGB in [-1, 1], `(batch, 3, size, size)`. Every function returns one number (a 0-d tensor) unless it says
otherwise.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Reconstruction -------------------------------------------------------------------------------------------------------

GREY = (0.2989, 0.5870, 0.1140)


def edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical differences of an image.

    Args:
        image (`torch.Tensor` of shape `(batch, channels, height, width)`): Any image.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: `(..., height, width - 1)` and `(..., height - 1, width)`.
    """
    return image.diff(dim=-1), image.diff(dim=-2)


def pyramid_l1(image: Tensor, target: Tensor, weight: Tensor, levels: int = 3, edge_weight: float = 1.0) -> Tensor:
    """Weighted L1 plus L1 of edges, averaged over `levels` scales that halve each time.

    Args:
        image, target (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1].
        weight (`torch.Tensor` of shape `(batch, 1, size, size)`): Importance of each pixel, about 1 on average.
        levels (`int`, *optional*, defaults to 3): Scales.
        edge_weight (`float`, *optional*, defaults to 1.0): Weight of the edges.
    """
    total = image.new_zeros(())
    for level in range(levels):
        if level:
            image, target, weight = (F.avg_pool2d(x, 2) for x in (image, target, weight))
        total = total + (weight * (image - target).abs()).mean()
        for output, expected, axis in zip(edges(image), edges(target), (-1, -2), strict=True):
            near = weight[..., 1:] if axis == -1 else weight[..., 1:, :]
            total = total + edge_weight * (near * (output - expected).abs()).mean()
    return total / levels


def motion_error(image: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Error of the differences between one identity's images, whatever these have in common.

    Args:
        image, target (`torch.Tensor` of shape `(grids, identities, motions, 3, size, size)`): RGB in [-1, 1].
        weight (`torch.Tensor` of shape `(grids, identities, motions, 1, size, size)`): Importance of each pixel.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Squared error of the deviations from the identity's mean image, as a
        fraction of the target deviations' energy, and the regression slope of the deviations on those of the target (0:
        the image does not move, 1: it moves in full), without a gradient.
    """
    weight = weight.mean(2, keepdim=True)
    moved, expected = (x - x.mean(2, keepdim=True) for x in (image, target))
    energy = (weight * expected.square()).sum().clamp_min(1e-6)
    error = (weight * (moved - expected).square()).sum() / energy
    return error, ((weight * moved * expected).sum() / energy).detach()


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images of one shape in [-1, 1], for logs (no gradient)."""
    return 10 * torch.log10(4 / (image.detach().clamp(-1, 1) - target).square().mean())


def gradient_variance(image: Tensor, target: Tensor, patch: int = 8) -> Tensor:
    """Difference of local sharpness (Abrahamyan et al., "Gradient Variance Loss", eq. 2-4).

    Sobel maps of the grey images are cut into patches; the loss is the mean squared difference of the patches'
    unbiased variances, x plus y.

    Args:
        image (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1].
        target (`torch.Tensor` of the same shape): RGB in [-1, 1].
        patch (`int`, *optional*, defaults to 8): Size of a patch in pixels; rows and columns beyond the last whole
            patch are left out.
    """
    difference = _patch_variances(image, patch) - _patch_variances(target, patch)  # (batch, 2, rows, columns)
    return 2.0 * difference.square().mean()


def _patch_variances(image: Tensor, patch: int) -> Tensor:
    sobel = image.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([sobel, sobel.T])[:, None]  # (2, 1, 3, 3): along x, along y
    grey = (image * image.new_tensor(GREY)[:, None, None]).sum(dim=1, keepdim=True)
    gradients = F.conv2d(grey, kernels, padding=1)  # (batch, 2, size, size)
    patches = gradients.unfold(2, patch, patch).unfold(3, patch, patch)  # (batch, 2, rows, columns, patch, patch)
    return patches.flatten(4).var(dim=4)


# Codes ----------------------------------------------------------------------------------------------------------------


def code_distance(code: Tensor, target: Tensor, norm: str = "squared") -> Tensor:
    """Distance of codes `(batch, codes, style_dim)`, averaged over the batch.

    Args:
        code, target (`torch.Tensor` of shape `(batch, codes, style_dim)`): Codes.
        norm (`str`, *optional*, defaults to `"squared"`): `"squared"`, the mean squared error of ViVFace's code;
            `"plain"`, the Euclidean norm of the whole difference (hybrid latent spaces, eq. 10).
    """
    difference = code - target
    return difference.square().mean() if norm == "squared" else difference.flatten(1).norm(dim=1).mean()


def code_size(codes: Tensor, norm: str = "squared") -> Tensor:
    """Size of motion codes `(batch, codes, style_dim)`, averaged over the batch.

    Args:
        codes (`torch.Tensor` of shape `(batch, codes, style_dim)`): Codes.
        norm (`str`, *optional*, defaults to `"squared"`): `"squared"`, the mean square of ViVFace's code; `"plain"`,
            the sum over codes of their Euclidean norms (hybrid latent spaces, eq. 12).
    """
    return codes.square().mean() if norm == "squared" else codes.norm(dim=2).sum(1).mean()


def delta_size(w_plus: Tensor) -> Tensor:
    """Sum of the norms of the offsets of an identity code from its first vector (hybrid latent spaces, eq. 11-12).

    Args:
        w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Identity codes.
    """
    return (w_plus[:, 1:] - w_plus[:, :1]).norm(dim=2).sum(1).mean()


# Identity -------------------------------------------------------------------------------------------------------------


def identity_loss(embedding: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of unit embeddings `(batch, dim)`, averaged (ViVFace's identity term)."""
    return (1.0 - (embedding * target).sum(dim=1)).mean()


def angular_margin_loss(
    embedding: Tensor, centres: Tensor, labels: Tensor, scale: float = 32.0, margin: float = 0.4
) -> Tensor:
    """Additive angular margin (ArcFace, eq. 3): cross-entropy of cosines, the true class's angle enlarged.

    Args:
        embedding (`torch.Tensor` of shape `(batch, dim)`): Of length 1.
        centres (`torch.Tensor` of shape `(identities, dim)`): One learned vector per identity, of any length.
        labels (`torch.Tensor` of shape `(batch,)`): Identity of every sample.
        scale (`float`, *optional*, defaults to 32.0): Factor on the cosines.
        margin (`float`, *optional*, defaults to 0.4): Radians added to the angle of the true class.
    """
    cosines = F.linear(embedding, F.normalize(centres, dim=1)).clamp(-1 + 1e-6, 1 - 1e-6)  # (batch, identities)
    true_class = cosines.gather(1, labels[:, None])
    angle = torch.acos(true_class)
    # Beyond pi - margin the cosine would rise again: there, a straight line goes on
    enlarged = torch.where(angle < torch.pi - margin, torch.cos(angle + margin), true_class - margin * math.sin(margin))
    return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], enlarged), labels)


# Adversarial ----------------------------------------------------------------------------------------------------------


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Non-saturating loss of a discriminator's logits (Goodfellow et al.), for images and for latents."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating loss of a generator or encoder, from the discriminator's logits of its output."""
    return F.softplus(-fake).mean()


def r1_penalty(logits: Tensor, real: Tensor) -> Tensor:
    """Squared gradient norm at real samples, averaged over the batch (Mescheder et al., eq. 9, without gamma / 2).

    Args:
        logits (`torch.Tensor` of shape `(batch, 1)`): Discriminator of `real`.
        real (`torch.Tensor` of shape `(batch, ...)`): Requires a gradient.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def path_lengths(image: Tensor, w_plus: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """How far the image moves when w moves (StyleGAN2, sec. 3.2).

    Args:
        image (`torch.Tensor` of shape `(batch, 3, size, size)`): Made from `w_plus`.
        w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Requires a gradient.
        generator (`torch.Generator`, *optional*): Source of the random image directions.

    Returns:
        `torch.Tensor` of shape `(batch,)`: ||J^T y||, y random with variance 1 / pixels.
    """
    direction = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    direction = direction / (image.shape[2] * image.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((image * direction).sum(), w_plus, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, mean_length: Tensor, decay: float = 0.01) -> tuple[Tensor, Tensor]:
    """Squared deviation of the lengths from their running mean.

    Args:
        lengths (`torch.Tensor` of shape `(batch,)`): From `path_lengths`.
        mean_length (`torch.Tensor`): Running mean so far, a 0-d tensor; 0 at the start.
        decay (`float`, *optional*, defaults to 0.01): Share of this batch in the new mean.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: The penalty, and the new running mean without a gradient.
    """
    mean_length = mean_length.lerp(lengths.detach().mean(), decay)
    return (lengths - mean_length).square().mean(), mean_length

"""A pose map for HyperReenact's hypernetwork where there is no pose encoder: the motion codes of a hybrid encoder.

The published pose encoder cannot be shipped. Motion codes say the same, pose and expression without the person, as
vectors: every place of the map gets all of them.
"""

from torch import Tensor

from vivface.models.encoder import HybridEncoder


def motion_pose_map(encoder: HybridEncoder, image: Tensor, side: int) -> Tensor:
    """Read motion codes and lay them out.

    Args:
        encoder (`HybridEncoder`): With motion heads.
        image (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1].
        side (`int`): Height and width of the map.

    Returns:
        `torch.Tensor` of shape `(batch, motion_codes * style_dim, side, side)`: The same at every place.
    """
    return lay_out(encoder(image, identity=False, memory=False).motion, side)


def lay_out(motion: Tensor, side: int) -> Tensor:
    """Motion codes `(batch, motion_codes, style_dim)` as the map of `motion_pose_map`."""
    return motion.flatten(1)[:, :, None, None].expand(-1, -1, side, side)

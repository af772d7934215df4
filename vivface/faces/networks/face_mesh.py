"""Face mesh: 468 points of the face's surface (Kartynnik et al., Real-time Facial Surface Geometry from Monocular
Video on Mobile GPUs, CVPR workshops 2019), as MediaPipe ships it.
"""

from torch import Tensor, nn

from vivface.faces.networks.layers import BlazeBlock, SameConv2d, check_input, pointwise

POINTS = 468


class FaceMesh(nn.Module):
    """Points of the face in an upright crop that is about 1.5 times as large as the face, and whether it shows one."""

    image_size = 192

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, 16, 3, stride=2), nn.PReLU(16))
        self.trunk = nn.Sequential(
            _block(16, 16),
            _block(16, 16),
            _block(16, 32, stride=2),
            _block(32, 32),
            _block(32, 32),
            _block(32, 64, stride=2),
            _block(64, 64),
            _block(64, 64),
            _block(64, 128, stride=2),
            _block(128, 128),
            _block(128, 128),
            _block(128, 128, stride=2),
            _block(128, 128),
            _block(128, 128),
        )
        self.points = nn.Sequential(
            _block(128, 128, stride=2),
            _block(128, 128),
            _block(128, 128),
            pointwise(128, 32),
            nn.PReLU(32),
            _block(32, 32),
            nn.Conv2d(32, POINTS * 3, 3),
        )
        self.presence = nn.Sequential(
            _block(128, 128, stride=2),
            pointwise(128, 32),
            nn.PReLU(32),
            _block(32, 32),
            nn.Conv2d(32, 1, 3),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Find the points.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, 192, 192)`): RGB in [0, 1].

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Points of shape `(batch, 468, 3)`, x right, y down in pixels of the
            crop and z away from the camera at the same scale; and the logit of a face, of shape `(batch, 1)`.

        Raises:
            ValueError: If the image has another shape.
        """
        check_input(image, self.image_size)
        x = self.trunk(self.stem(image))  # (batch, 128, 6, 6)
        points = self.points(x)  # (batch, 1404, 1, 1)
        return points.reshape(-1, POINTS, 3), self.presence(x).reshape(-1, 1)


def _block(in_channels: int, out_channels: int, stride: int = 1) -> BlazeBlock:
    return BlazeBlock(in_channels, out_channels, stride, prelu=True)

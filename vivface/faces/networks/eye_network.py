"""Eye network: lids, brow and iris of one eye (Ablavatski et al., Real-time Pupil Tracking from Monocular Video for
Digital Puppetry, CVPR workshops 2020), as MediaPipe ships it under the name "iris landmark".
"""

from torch import Tensor, nn

from vivface.faces.networks.layers import Bottleneck, SameConv2d, check_input

CONTOUR_POINTS = 71
IRIS_POINTS = 5


class EyeNetwork(nn.Module):
    """Points of one eye in an upright crop about 2.3 times as wide as the eye.

    It knows the person's right eye (in the left half of the image); show it the other one mirrored.
    """

    image_size = 64

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, 64, 3, stride=2), nn.PReLU(64))
        self.trunk = nn.Sequential(
            *(Bottleneck(64, 32, 64) for _ in range(4)),
            Bottleneck(64, 64, 128, stride=2),
            *(Bottleneck(128, 64, 128) for _ in range(4)),
            Bottleneck(128, 64, 128, stride=2),
        )
        self.contour = _branch(CONTOUR_POINTS)
        self.iris = _branch(IRIS_POINTS)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Find the points.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, 64, 64)`): RGB in [0, 1].

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: In pixels of the crop, x, y, z: lids and brow of shape
            `(batch, 71, 3)`, and of shape `(batch, 5, 3)` the iris: centre and its rim.

        Raises:
            ValueError: If the image has another shape.
        """
        check_input(image, self.image_size)
        x = self.trunk(self.stem(image))  # (batch, 128, 8, 8)
        contour = self.contour(x).reshape(-1, CONTOUR_POINTS, 3)
        return contour, self.iris(x).reshape(-1, IRIS_POINTS, 3)


def _branch(points: int) -> nn.Sequential:
    return nn.Sequential(
        *(Bottleneck(128, 64, 128) for _ in range(2)),
        Bottleneck(128, 64, 128, stride=2),
        *(Bottleneck(128, 64, 128) for _ in range(2)),
        Bottleneck(128, 64, 128, stride=2),
        *(Bottleneck(128, 64, 128) for _ in range(2)),
        nn.Conv2d(128, points * 3, 2),
    )

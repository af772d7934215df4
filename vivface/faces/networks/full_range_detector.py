"""BlazeFace for faces up to five metres away (model card "MediaPipe BlazeFace Full Range"), the dense network.

Double blocks (Bazarevsky et al., BlazeFace, CVPR workshops 2019) and a feature pyramid (Lin et al., Feature Pyramid
Networks for Object Detection, CVPR 2017).
"""

from torch import Tensor, nn

from vivface.faces.networks.layers import (
    DoubleBlazeBlock,
    SameConv2d,
    by_cell,
    check_input,
    pointwise,
    upsample,
)


class FullRangeDetector(nn.Module):
    """Boxes and six key points of faces that are larger than about a twentieth of the image.

    One anchor in each of 48x48 cells.
    """

    image_size = 192
    anchors = ((48, 1),)  # (cells along a side, anchors in a cell)

    def __init__(self):
        super().__init__()
        block = DoubleBlazeBlock
        self.stem = nn.Sequential(SameConv2d(3, 32, 3, stride=2), nn.ReLU())
        # The way down
        self.blocks_96 = nn.Sequential(block(32, 8, 32), block(32, 8, 32))
        self.blocks_48 = nn.Sequential(block(32, 12, 48, stride=2), block(48, 12, 48), block(48, 16, 64))
        self.blocks_24 = nn.Sequential(block(64, 24, 96, stride=2), block(96, 32, 128), block(128, 32, 128))
        self.blocks_12 = nn.Sequential(block(128, 36, 144, stride=2), block(144, 48, 192), block(192, 64, 256))
        self.blocks_6 = nn.Sequential(block(256, 96, 384, stride=2), *(block(384, 96, 384) for _ in range(3)))
        # The way up: at every level the coarser features, what was seen on the way down, and blocks over their sum
        self.coarse_12, self.level_12 = _to(384, 96), _to(256, 96)
        self.merge_12 = nn.Sequential(block(96, 48, 96), block(96, 48, 96))
        self.coarse_24, self.level_24 = _to(96, 64), _to(128, 64)
        self.merge_24 = nn.Sequential(block(64, 32, 64), block(64, 32, 64))
        self.coarse_48, self.level_48 = _to(64, 48), _to(64, 48)
        self.merge_48 = block(48, 24, 48)
        self.scores = nn.Conv2d(48, 1, 1)
        self.boxes = nn.Conv2d(48, 16, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Look for faces.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, 192, 192)`): RGB in [-1, 1].

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Logits of shape `(batch, 2304, 1)`; and, of shape `(batch, 2304, 16)`,
            centre x, y, width, height and six key points x, y, in pixels, points relative to the anchor's centre.

        Raises:
            ValueError: If the image has another shape.
        """
        check_input(image, self.image_size)
        x_96 = self.blocks_96(self.stem(image))  # (batch, 32, 96, 96)
        x_48 = self.blocks_48(x_96)  # (batch, 64, 48, 48)
        x_24 = self.blocks_24(x_48)  # (batch, 128, 24, 24)
        x_12 = self.blocks_12(x_24)  # (batch, 256, 12, 12)
        x = self.blocks_6(x_12)  # (batch, 384, 6, 6)
        x = self.merge_12(upsample(self.coarse_12(x)) + self.level_12(x_12))  # (batch, 96, 12, 12)
        x = self.merge_24(upsample(self.coarse_24(x)) + self.level_24(x_24))  # (batch, 64, 24, 24)
        x = self.merge_48(upsample(self.coarse_48(x)) + self.level_48(x_48))  # (batch, 48, 48, 48)
        return by_cell(self.scores(x), 1), by_cell(self.boxes(x), 16)


def _to(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(pointwise(in_channels, out_channels), nn.ReLU())

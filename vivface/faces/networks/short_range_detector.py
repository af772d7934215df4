"""BlazeFace for faces near the camera (Bazarevsky et al., BlazeFace, CVPR workshops 2019), as MediaPipe ships it."""

from torch import Tensor, cat, nn

from vivface.faces.networks.layers import BlazeBlock, SameConv2d, by_cell, check_input


class ShortRangeDetector(nn.Module):
    """Boxes and six key points of faces that are larger than about a tenth of the image.

    Two anchors in each of 16x16 cells, then six in each of 8x8 cells.
    """

    image_size = 128
    anchors = ((16, 2), (8, 6))  # (cells along a side, anchors in a cell)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, 24, 5, stride=2), nn.ReLU())
        self.trunk = nn.Sequential(
            BlazeBlock(24, 24),
            BlazeBlock(24, 28),
            BlazeBlock(28, 32, stride=2),
            BlazeBlock(32, 36),
            BlazeBlock(36, 42),
            BlazeBlock(42, 48, stride=2),
            BlazeBlock(48, 56),
            BlazeBlock(56, 64),
            BlazeBlock(64, 72),
            BlazeBlock(72, 80),
            BlazeBlock(80, 88),
        )
        self.deep = nn.Sequential(BlazeBlock(88, 96, stride=2), *(BlazeBlock(96, 96) for _ in range(4)))
        self.scores_16 = nn.Conv2d(88, 2, 1)
        self.scores_8 = nn.Conv2d(96, 6, 1)
        self.boxes_16 = nn.Conv2d(88, 2 * 16, 1)
        self.boxes_8 = nn.Conv2d(96, 6 * 16, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Look for faces.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, 128, 128)`): RGB in [-1, 1].

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Logits of shape `(batch, 896, 1)`; and, of shape `(batch, 896, 16)`,
            centre x, y, width, height and six key points x, y, in pixels, points relative to the anchor's centre.

        Raises:
            ValueError: If the image has another shape.
        """
        check_input(image, self.image_size)
        x = self.stem(image)  # (batch, 24, 64, 64)
        x = self.trunk(x)  # (batch, 88, 16, 16)
        deep = self.deep(x)  # (batch, 96, 8, 8)
        scores = cat([by_cell(self.scores_16(x), 1), by_cell(self.scores_8(deep), 1)], dim=1)
        boxes = cat([by_cell(self.boxes_16(x), 16), by_cell(self.boxes_8(deep), 16)], dim=1)
        return scores, boxes

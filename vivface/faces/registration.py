"""Squares without jitter: every frame is registered to a key frame.

Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, sec. 3.2: landmarks tremble, so a frame's square is
that of an earlier key frame, carried over by a parametric motion of the picture; a head that does not move gets a
square that does not move. When the head has turned too far for that, the frame becomes the next key frame.

The paper fits the motion by robust optical flow (Black and Yacoob, IJCV 1997). Here it is an affine motion that
maximises the correlation of the upper face, which speech moves least (Evangelidis and Psarakis, Parametric Image
Alignment Using Enhanced Correlation Coefficient Maximization, PAMI 2008, as OpenCV has it).
"""

from __future__ import annotations

import cv2
import numpy as np

from vivface.faces.alignment import crop_quad, crop_to_image_matrix, make_quad, quad_center, quad_size

SIZE = 96  # of the crops that are compared, pixels
ITERATIONS, PRECISION = 60, 1e-6
LEAST_CORRELATION = 0.9  # below, the head has turned too far
LARGEST_DIFFERENCE = 0.12  # sides between the square carried over and that of the frame's own landmarks
UPPER_FACE = [*range(17, 31), *range(36, 48)]  # brows, bridge of the nose, eyes
MARGIN = 0.08  # of the crop around them


class KeyFrameRegistration:
    """Carries the square of a key frame over to the frames after it.

    Attributes:
        key_frames (`int`): How many frames became key frames so far.
    """

    def __init__(self) -> None:
        self.key_frames = 0
        self._key: np.ndarray | None = None  # grey, float32
        self._mask: np.ndarray | None = None

    def reset(self) -> None:
        """The next frame is a key frame."""
        self._key = None

    def update(self, image: np.ndarray, quad: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """The square of the next frame.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
            quad (`np.ndarray` of shape `(4, 2)`): The square of its own landmarks.
            landmarks (`np.ndarray` of shape `(68, 2)`): In pixels of the image.

        Returns:
            `np.ndarray` of shape `(4, 2)`, float64: A square.
        """
        grey = _grey(image, quad)
        carried = None if self._key is None else self._carried(grey, quad)
        if carried is not None:
            return carried
        self._key, self._mask = grey, _upper_face(quad, landmarks)
        self.key_frames += 1
        return np.asarray(quad, np.float64)

    def _carried(self, grey: np.ndarray, quad: np.ndarray) -> np.ndarray | None:
        """The key frame's square in this frame; None where it cannot be found."""
        motion = np.eye(2, 3, dtype=np.float32)  # key crop -> this crop, pixels
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, PRECISION)
        try:
            correlation, motion = cv2.findTransformECC(
                self._key, grey, motion, cv2.MOTION_AFFINE, criteria, self._mask, 5
            )
        except cv2.error:  # no correlation at all
            return None
        if not correlation >= LEAST_CORRELATION:
            return None
        corners = np.array([[0, 0], [0, SIZE], [SIZE, SIZE], [SIZE, 0]], np.float64) - 0.5
        moved = corners @ motion[:, :2].T + motion[:, 2]
        to_image = crop_to_image_matrix(quad, SIZE)
        carried = _square(moved @ to_image[:, :2].T + to_image[:, 2])
        apart = np.linalg.norm(carried - quad, axis=1).max() / quad_size(quad)
        return carried if apart <= LARGEST_DIFFERENCE else None


def _grey(image: np.ndarray, quad: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(crop_quad(image, quad, SIZE), cv2.COLOR_RGB2GRAY).astype(np.float32)


def _upper_face(quad: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Mask `(SIZE, SIZE)`, uint8, of brows, eyes and the bridge of the nose in the crop of a quad."""
    to_crop = cv2.invertAffineTransform(crop_to_image_matrix(quad, SIZE))
    points = landmarks[UPPER_FACE] @ to_crop[:, :2].T + to_crop[:, 2]
    mask = np.zeros((SIZE, SIZE), np.uint8)
    hull = cv2.convexHull(np.rint(points).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 255)
    cv2.polylines(mask, [hull], True, 255, round(2 * MARGIN * SIZE))
    return mask


def _square(corners: np.ndarray) -> np.ndarray:
    """The square nearest to a parallelogram: its centre, and the similarity part of its sides."""
    x_axis = (corners[3] - corners[0] + corners[2] - corners[1]) / 2
    y_axis = (corners[1] - corners[0] + corners[2] - corners[3]) / 2
    along = (x_axis + np.array([y_axis[1], -y_axis[0]])) / 2
    return make_quad(quad_center(corners), float(np.hypot(*along)) / 2, float(np.arctan2(along[1], along[0])))

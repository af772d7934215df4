"""Following one face: it is kept, lost and found again, and never taken for another."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from vivface.errors import NoFaceError
from vivface.faces.alignment import crop_quad, ffhq_quad, make_quad
from vivface.faces.backends import get_backend
from vivface.faces.smoothing import QuadStabilizer
from vivface.faces.tracking import FaceTracker


@pytest.fixture(scope="module", params=["mesh", "dlib"])
def backend(request):
    return get_backend(request.param)


def head(side: int) -> np.ndarray:
    """A square picture of one head; the face is 0.42 sides wide."""
    return crop_quad(astronaut(), make_quad((226, 128), 120), side)


def scene(*places: tuple[int, int, int], size: tuple[int, int] = (320, 480)) -> np.ndarray:
    """A frame of `size` (height, width) with heads at (x, y, side)."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    frame = np.stack([90 + x // 8, 100 + y // 8, 120 + (x + y) // 16], axis=-1).astype(np.uint8)
    for left, top, side in places:
        visible = frame[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
        dx, dy = max(-left, 0), max(-top, 0)
        visible[:] = head(side)[dy : dy + visible.shape[0], dx : dx + visible.shape[1]]
    return frame


def read_frames(path: Path) -> list[tuple[float, np.ndarray]]:
    """Times and upright pictures of a clip."""
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            frames.append((float(frame.time), np.ascontiguousarray(image)))
    return frames


class TestOneFace:
    def test_wandering(self, backend):
        tracker = FaceTracker(backend)
        for number in range(12):
            x, y = 20 + 15 * number, 10 + round(8 * np.sin(number))
            tracked = tracker.update(scene((x, y, 220)))
            assert tracked.found and tracked.redetected == (number == 0)
            nose = (tracked.landmarks[30] - (x, y)) / 220
            np.testing.assert_allclose(nose, (0.495, 0.495), atol=0.03)
        assert (tracker.frames, tracker.missing, tracker.faces_first) == (12, 0, 1)

    def test_gap(self, backend):
        tracker = FaceTracker(backend)
        found, landmarks = [], []
        for number in range(12):
            tracked = tracker.update(scene() if 4 <= number < 8 else scene((100, 40, 220)))
            found.append(tracked.found)
            landmarks.append(tracked.landmarks)
        assert found == [True] * 4 + [False] * 4 + [True] * 4
        assert tracker.missing == 4
        np.testing.assert_array_equal(landmarks[5], landmarks[3])  # held

    def test_found_again_elsewhere(self, backend):
        tracker = FaceTracker(backend)
        tracker.update(scene((0, 0, 200)))
        tracker.update(scene())
        tracked = tracker.update(scene((270, 110, 200)))
        assert tracked.found and tracked.redetected
        assert tracked.landmarks[30][0] > 300

    def test_before_the_first_face(self, backend):
        tracker = FaceTracker(backend)
        tracked = tracker.update(scene())
        assert not tracked.found and tracked.landmarks is None
        assert tracker.update(scene((100, 40, 220))).found

    def test_small_face_in_a_large_frame(self, backend):
        tracker = FaceTracker(backend)
        results = [tracker.update(scene((700 + 4 * k, 300, 260), size=(720, 1280))).found for k in range(3)]
        assert results == [True] * 3

    def test_none_at_all(self, backend):
        tracker = FaceTracker(backend, where="'field.mp4'")
        tracker.update(scene())
        with pytest.raises(NoFaceError, match="No face was found in the 1 frames of 'field.mp4'"):
            tracker.check()


class TestSeveralFaces:
    left, right = (10, 30, 240), (270, 60, 200)

    def test_largest_by_default(self, backend):
        tracker = FaceTracker(backend)
        assert tracker.update(scene(self.left, self.right)).landmarks[30][0] < 200
        assert tracker.faces_first == 2

    def test_by_number(self, backend):
        tracked = FaceTracker(backend, face=1).update(scene(self.left, self.right))
        assert tracked.landmarks[30][0] > 300

    def test_number_not_there(self, backend):
        with pytest.raises(NoFaceError, match="Face 2 was asked for, but 2 faces were found in the first frame"):
            FaceTracker(backend, face=2).update(scene(self.left, self.right))

    @pytest.mark.parametrize("face", (0, 1))
    def test_never_the_other_one(self, backend, face):
        """While the followed face is away, the other one is not taken; when it comes back, it is."""
        places = [self.left, self.right]
        mine, other = places[face], places[1 - face]
        tracker = FaceTracker(backend, face=face)
        tracker.update(scene(*places))
        assert not any(tracker.update(scene(other)).found for _ in range(20))
        tracked = tracker.update(scene(*places))
        assert tracked.found
        assert abs(tracked.landmarks[30][0] - (mine[0] + mine[2] / 2)) < 20

    def test_passing_in_front_of_a_still_one(self, backend):
        """The other face walks behind the followed one and comes out on the other side."""
        tracker = FaceTracker(backend)
        for x in range(-60, 330, 30):
            tracked = tracker.update(scene((x, 90, 130), (110, 40, 230)))
            assert tracked.found
            assert abs(tracked.landmarks[30][0] - 225) < 20


@pytest.mark.slow
class TestClips:
    @pytest.mark.parametrize("name", ("expressions", "talking", "turning"))
    def test_driving(self, backend, media_dir, name):
        """The face is found in 99 % of the frames and stays well inside the crop."""
        tracker, stabilizer = FaceTracker(backend), QuadStabilizer("stable")
        for time, image in read_frames(media_dir / "driving" / f"{name}.mp4"):
            tracked = tracker.update(image)
            quad = stabilizer.update(ffhq_quad(tracked.landmarks), time, cut=tracked.redetected)
            right, down = quad[3] - quad[0], quad[1] - quad[0]
            inside = (tracked.landmarks - quad[0]) @ np.stack([right, down], axis=1) / (right @ right)
            assert inside.min() > 0.05 and inside.max() < 1.0
            middle = inside[36:48].mean(0) * 0.5 + inside[[48, 54]].mean(0) * 0.5
            assert np.abs(middle - (0.5, 0.56)).max() < 0.14
        assert tracker.missing <= 0.01 * tracker.frames
        assert tracker.faces_first == 1

    @pytest.mark.parametrize(
        ("name", "frames"), (("rotated90", 75), ("vfr", 46), ("fps_5", 13), ("one_frame", 1), ("odd_size_yuv444", 30))
    )
    def test_odd(self, backend, media_dir, name, frames):
        tracker = FaceTracker(backend)
        for _, image in read_frames(media_dir / "hard" / f"{name}.mp4"):
            tracker.update(image)
        assert (tracker.frames, tracker.missing) == (frames, 0)

    def test_gap(self, backend, media_dir):
        tracker = FaceTracker(backend)
        found = [tracker.update(image).found for _, image in read_frames(media_dir / "hard" / "face_gap.mp4")]
        truth = [not 25 <= number <= 44 for number in range(75)]
        assert sum(a != b for a, b in zip(found, truth, strict=True)) <= 2

    def test_no_face(self, backend, media_dir):
        tracker = FaceTracker(backend)
        for _, image in read_frames(media_dir / "hard" / "no_face.mp4"):
            assert not tracker.update(image).found
        assert tracker.missing == tracker.frames == 20

    def test_reencoding_does_not_move_the_landmarks(self, backend, media_dir):
        """Repeatability: a clip and a noisier copy of it give the same landmarks up to 2 % of the eyes' distance."""
        frames = [image for _, image in read_frames(media_dir / "driving" / "talking.mp4")[:40]]
        copies = [cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1) for image in frames]
        one, two = FaceTracker(backend), FaceTracker(backend)
        a = np.array([one.update(image).landmarks for image in frames])
        b = np.array([two.update(image).landmarks for image in copies])
        eyes = np.linalg.norm(a[:, 36:42].mean(1) - a[:, 42:48].mean(1), axis=1).mean()
        assert np.linalg.norm(a - b, axis=2).mean() < 0.02 * eyes

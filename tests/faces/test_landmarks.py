"""Detection and landmarks with backend, and the choice of backends and faces."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage.data import astronaut

from vivface.errors import NoFaceError, OptionError
from vivface.faces.alignment import ffhq_quad, quad_angle, quad_center, quad_size
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import Face, choose_face, overlap


@pytest.fixture(scope="module", params=["mesh", "dlib"])
def backend(request):
    return get_backend(request.param)


@pytest.fixture(scope="module")
def astronaut_face(backend):
    return backend.detect(astronaut())[0]


def load(path) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


class TestDetect:
    def test_astronaut(self, backend):
        faces = backend.detect(astronaut())
        assert len(faces) == 1
        face = faces[0]
        assert face.box.shape == (4,) and face.landmarks.shape == (68, 2)
        assert face.box.dtype == face.landmarks.dtype == np.float64
        # Where anybody sees them: pupils, tip of the nose, corners of the mouth.
        eyes = face.landmarks[36:42].mean(0), face.landmarks[42:48].mean(0)
        np.testing.assert_allclose(eyes, [(204, 101), (248, 103)], atol=4)
        np.testing.assert_allclose(face.landmarks[30], (225, 127), atol=5)
        np.testing.assert_allclose(face.landmarks[[48, 54]], [(201, 139), (245, 141)], atol=5)

    @pytest.mark.parametrize("name", ("astronaut.png", "man.jpg", "glasses.jpg", "painting_turned.jpg"))
    def test_sources(self, backend, media_dir, name):
        assert len(backend.detect(load(media_dir / "sources" / name))) == 1

    def test_no_more_faces_than_there_are(self, backend):
        assert len(backend.detect(astronaut(), effort="high")) == 1  # her name patch looks a bit like one

    def test_several_faces_by_size(self, backend, media_dir):
        faces = backend.detect(load(media_dir / "hard" / "several_faces.jpg"))
        assert len(faces) == 3
        widths = [face.width for face in faces]
        assert widths == sorted(widths, reverse=True)
        thirds = sorted(int(face.center[0] // 256) for face in faces)
        assert thirds == [0, 1, 2]  # one in each part of the montage

    @pytest.mark.parametrize("name", ("no_face.jpg", "upside_down.jpg"))
    def test_no_face(self, backend, media_dir, name):
        assert backend.detect(load(media_dir / "hard" / name), effort="high") == []

    def test_no_face_in_noise(self, backend):
        noise = np.random.default_rng(0).integers(0, 256, (200, 260, 3), dtype=np.uint8)
        assert backend.detect(noise, effort="high") == []

    def test_tiny_picture(self, backend, media_dir):
        (face,) = backend.detect(load(media_dir / "hard" / "tiny_64px.png"))
        assert 20 < face.width < 40

    @pytest.mark.parametrize("shape", ((1, 1), (7, 300), (300, 5)))
    def test_degenerate_pictures(self, backend, shape):
        assert backend.detect(np.zeros((*shape, 3), np.uint8), effort="high") == []

    @pytest.mark.parametrize("degrees", (-50, -25, 25, 50))
    def test_tilted(self, backend, astronaut_face, degrees):
        (face,) = backend.detect(turned(astronaut(), degrees))
        upright, tilted = ffhq_quad(astronaut_face.landmarks), ffhq_quad(face.landmarks)
        assert abs(np.degrees(quad_angle(tilted) - quad_angle(upright)) + degrees) < 4
        assert abs(quad_size(tilted) / quad_size(upright) - 1) < 0.06

    @pytest.mark.parametrize("scale", (0.25, 2.5))
    def test_scale_and_place(self, backend, astronaut_face, scale):
        """The same landmarks at every size and anywhere in a wide frame."""
        head = astronaut()[:300, 80:380]
        resized = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else None)
        frame = np.full((resized.shape[0] + 200, resized.shape[1] + 500, 3), 90, np.uint8)
        frame[150 : 150 + resized.shape[0], 400 : 400 + resized.shape[1]] = resized
        (face,) = backend.detect(frame)
        back = (face.landmarks - (400, 150) + 0.5) / scale - 0.5 + (80, 0)
        error = np.linalg.norm(back - astronaut_face.landmarks, axis=1) / astronaut_face.width
        assert error.mean() < (0.03 if scale < 1 else 0.015)

    def test_near(self, backend, astronaut_face):
        """A search near a face finds it again, and looks elsewhere when it is not there."""
        again = backend.detect(astronaut(), near=astronaut_face)
        assert overlap(again[0].box, astronaut_face.box) > 0.85
        wrong = Face(astronaut_face.box + 250, astronaut_face.landmarks + 250, 1.0)
        assert overlap(backend.detect(astronaut(), near=wrong)[0].box, astronaut_face.box) > 0.85

    def test_input(self, backend):
        with pytest.raises(ValueError, match="uint8 RGB"):
            backend.detect(np.zeros((100, 100), np.uint8))


class TestRefine:
    def test_steady(self, backend, astronaut_face):
        """Landmarks of one head under noise and small shifts hardly tremble."""
        generator = np.random.default_rng(0)
        quads, points = [], []
        face = astronaut_face
        for _ in range(25):
            shift = generator.uniform(-1.5, 1.5, 2)
            matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
            frame = cv2.warpAffine(astronaut(), matrix, (512, 512), borderMode=cv2.BORDER_REFLECT)
            frame = np.clip(frame + generator.normal(0, 4, frame.shape), 0, 255).astype(np.uint8)
            face = backend.refine(frame, face)
            points.append(face.landmarks - shift)
            quads.append(ffhq_quad(points[-1]))
        eyes = np.linalg.norm(face.landmarks[36:42].mean(0) - face.landmarks[42:48].mean(0))
        restless = np.linalg.norm(np.std(points, axis=0), axis=1).mean()
        assert restless < 0.012 * eyes
        assert np.std([quad_center(quad) for quad in quads], axis=0).max() < 0.004 * quad_size(quads[0])
        assert np.std([quad_size(quad) for quad in quads]) < 0.008 * quad_size(quads[0])

    @pytest.mark.parametrize("angle", range(0, 360, 60))
    @pytest.mark.parametrize("width", (0.1, 0.25, 0.5))
    def test_follows_a_jump(self, backend, astronaut_face, width, angle):
        """By a part of the face's width from one frame to the next."""
        jump = width * astronaut_face.width * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        x, y = jump.round().astype(int)
        face = backend.refine(np.roll(astronaut(), (y, x), axis=(0, 1)), astronaut_face)
        error = np.linalg.norm(face.landmarks - astronaut_face.landmarks - (x, y), axis=1)
        assert error.mean() < 0.015 * astronaut_face.width

    def test_loses_a_face_that_is_gone(self, backend, astronaut_face):
        floor = np.roll(astronaut(), 250, axis=0)  # her suit is where her face was
        assert backend.refine(floor, astronaut_face) is None
        assert backend.refine(np.full((512, 512, 3), 128, np.uint8), astronaut_face) is None

    def test_loses_a_face_that_fades(self, backend, astronaut_face):
        """A slow dissolve changes little from frame to frame, but not for ever."""
        other = np.roll(astronaut()[::-1], 120, axis=1)
        face, steps = astronaut_face, 0
        for weight in np.linspace(0, 1, 60):
            frame = cv2.addWeighted(astronaut(), 1 - weight, other, weight, 0)
            face = backend.refine(frame, face)
            if face is None:
                break
            steps += 1
        assert face is None and steps < 59

    def test_same_input_same_result(self, backend, astronaut_face):
        frame = np.roll(astronaut(), 4, axis=1)
        first, second = (backend.refine(frame, astronaut_face) for _ in range(2))
        np.testing.assert_array_equal(first.landmarks, second.landmarks)


class TestChoice:
    faces = [Face(np.array([0.0, 0, width, width]), np.zeros((68, 2)), 1.0) for width in (90, 50)]

    def test_largest_by_default(self):
        assert choose_face(self.faces) is self.faces[0]

    def test_by_number(self):
        assert choose_face(self.faces, 1) is self.faces[1]

    @pytest.mark.parametrize("index", (2, -1))
    def test_not_there(self, index):
        with pytest.raises(NoFaceError, match=f"Face {index} was asked for, but 2 faces were found in 'a.jpg'"):
            choose_face(self.faces, index, where="'a.jpg'")

    def test_none(self):
        with pytest.raises(NoFaceError, match="No face was found in 'a.jpg'"):
            choose_face([], None, where="'a.jpg'")


def test_unknown_backend():
    with pytest.raises(OptionError, match="mediapipe.*choose one of auto, mesh, dlib"):
        get_backend("mediapipe")


def test_overlap():
    box = np.array([0.0, 0, 10, 10])
    assert overlap(box, box) == 1
    assert overlap(box, box + 20) == 0
    assert abs(overlap(box, box + np.array([5, 0, 5, 0])) - 1 / 3) < 1e-9

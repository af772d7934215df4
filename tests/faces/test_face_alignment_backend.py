"""The optional backend: honest about missing weights, and wired to the real package."""

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from vivface.errors import BackendError, OptionError
from vivface.faces import face_alignment_backend
from vivface.faces.backends import get_backend
from vivface.faces.face_alignment_backend import DETECTORS
from vivface.faces.landmarks import Face

pytest.importorskip("face_alignment", reason="needs the package face-alignment (extra: faces)")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A hub folder without weights, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "hub" / "checkpoints"


class TestWithoutWeights:
    def test_auto_needs_no_download(self, empty_cache):
        assert get_backend("auto").name == "mesh"
        assert not empty_cache.exists()  # nothing was tried

    @pytest.mark.parametrize("detector", DETECTORS)
    def test_message(self, empty_cache, detector):
        with pytest.raises(BackendError) as caught:
            get_backend(f"face-alignment:{detector}")
        message = str(caught.value)
        assert "\n" not in message and message.endswith(".")
        if "onnxruntime" not in message:  # scrfd needs one more package, which the message then names
            assert "could not be downloaded" in message and "use mesh" in message and str(empty_cache) in message

    def test_default_detector(self, empty_cache):
        with pytest.raises(BackendError, match="face-alignment:sfd"):
            get_backend("face-alignment")

    def test_damaged_weights(self, empty_cache):
        empty_cache.mkdir(parents=True)
        for path in face_alignment_backend.missing_weights("sfd"):
            path.write_bytes(b"not weights")
        with pytest.raises(BackendError, match="cannot be read"):
            get_backend("face-alignment:sfd")

    def test_unknown_detector(self):
        with pytest.raises(OptionError, match="no landmark backend"):
            get_backend("face-alignment:haar")


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        paths = {path.name: path for path in face_alignment_backend.missing_weights("sfd")}
        next(iter(paths.values())).parent.mkdir(parents=True)
        torch.save(FAN(4).state_dict(), paths["2DFAN4-11f355bf06.pth.tar"])
        torch.save(s3fd().state_dict(), paths["s3fd-619a316812.pth"])
        assert face_alignment_backend.is_ready("sfd")
        assert not face_alignment_backend.is_ready("blazeface")
        yield get_backend("face-alignment")


@pytest.mark.slow
class TestWithWeights:
    """The package's own networks with random weights: its interface is used as it is, the results mean nothing."""

    def test_default_detector(self, backend):
        assert backend.name == "face-alignment:sfd"

    def test_landmarks_of_a_box(self, backend):
        points, scores = backend._landmarks(astronaut(), [np.array([175.0, 75, 275, 190])])
        assert points[0].shape == (68, 2) and points[0].dtype == np.float64
        assert np.isfinite(points[0]).all() and np.isfinite(scores[0])
        assert np.abs(points[0].mean(0) - (225, 132)).max() < 150  # in the crop around the box

    def test_refine_moves_the_box_with_the_landmarks(self, backend, monkeypatch):
        face = Face(np.array([175.0, 75, 275, 190]), np.zeros((68, 2)), 0.9)
        (start,), _ = backend._landmarks(astronaut(), [face.box])
        face = Face(face.box, (start - start.mean(0)) / 1.2 + start.mean(0) - (6, 4), 0.9)
        monkeypatch.setattr(face_alignment_backend, "KEEP_SCORE", -np.inf)
        moved = backend.refine(astronaut(), face)
        np.testing.assert_allclose(moved.landmarks, start)
        assert abs(moved.width / face.width - 1.2) < 1e-6
        monkeypatch.setattr(face_alignment_backend, "KEEP_SCORE", np.inf)
        assert backend.refine(astronaut(), face) is None

    @pytest.mark.parametrize("count", (0, 2))
    def test_detect_sorts_by_size(self, backend, monkeypatch, count):
        """A random detector sees hundreds of faces, so its answer is given here."""
        rows = [[10.0, 20, 60, 80, 0.9], [175.0, 75, 275, 190, 0.7]][:count]
        detector = backend._network.face_detector
        monkeypatch.setattr(detector, "detect_from_image", lambda image: [np.array(row) for row in rows])
        faces = backend.detect(astronaut())
        assert [face.score for face in faces] == [row[4] for row in rows[::-1]]
        assert all(face.landmarks.shape == (68, 2) and face.box.shape == (4,) for face in faces)

"""dlib's descriptor: the same person is nearer than somebody else."""

import cv2
import pytest
import torch

from tests.conftest import REPOSITORY
from vivface.faces import get_backend
from vivface.media import load_image
from vivface.metrics.descriptor import DescriptorDistance, DlibDescriptor


def test_people():
    pytest.importorskip("dlib")
    read, backend = DlibDescriptor(), get_backend("mesh")

    def describe(image):
        return read(image, backend.detect(image)[0].landmarks)

    one, other = (load_image(REPOSITORY / "examples" / name) for name in ("astronaut.png", "man.jpg"))
    source = describe(one)
    assert source.shape == (1, 128)
    same = describe(cv2.resize(cv2.convertScaleAbs(one[:, ::-1], alpha=0.8), None, fx=0.8, fy=0.8))  # mirrored, darker
    distance = DescriptorDistance()
    near, far = float(distance.update(same, source)), float(distance.update(describe(other), source))
    assert near < 0.45 < 0.6 < far
    assert distance.compute() == pytest.approx((near + far) / 2)


def test_distance_by_hand():
    distance = DescriptorDistance()
    assert distance.update(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.zeros(1, 2)).tolist() == [5.0, 0.0]
    assert distance.compute() == 2.5

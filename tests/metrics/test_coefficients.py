"""3DMM readers load files of the published layout, and see the published crop."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vivface.errors import BackendError
from vivface.metrics.coefficients import Deca, Deep3D, deep3d_quad
from vivface.models.pose_encoder import PoseEncoder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files with random numbers under the published names."""
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("weights")
    backbone = PoseEncoder().eval().state_dict()
    recon = {f"backbone.{name}": value for name, value in backbone.items()}
    for number, channels in enumerate((80, 64, 80, 3, 27, 2, 1)):
        recon[f"final_layers.{number}.weight"] = torch.randn(channels, 2048, 1, 1) * 0.01
        recon[f"final_layers.{number}.bias"] = torch.full((channels,), float(number))
    torch.save({"net_recon": recon}, folder / "deep3dfacerecon.pth")
    flame = {f"encoder.{name}": value for name, value in backbone.items()}
    flame |= {"layers.0.weight": torch.randn(1024, 2048) * 0.01, "layers.0.bias": torch.zeros(1024)}
    flame |= {"layers.2.weight": torch.zeros(236, 1024), "layers.2.bias": torch.arange(236.0)}
    torch.save({"E_flame": flame}, folder / "deca_model.tar")
    savemat(folder / "similarity_Lm3D_all.mat", {"lm": np.random.default_rng(7).normal(size=(68, 3)) * 0.5})
    return folder


@pytest.fixture
def face() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(8)
    return random.integers(0, 256, (256, 256, 3), dtype=np.uint8), random.uniform(60, 200, (68, 2))


def test_deca_reads_expression_and_pose(weights, face):
    codes = Deca(weights)(*face)
    assert codes.expression.tolist() == [list(map(float, range(150, 200)))]
    assert codes.pose.tolist() == [[200.0, 201.0, 202.0]]


def test_deep3d_reads_expression_and_pose(weights, face):
    reader = Deep3D(weights)
    codes = reader(*face)
    assert codes.expression.shape == (1, 64) and codes.pose.shape == (1, 3)
    assert torch.equal(reader.expression.bias, torch.ones(64))  # heads 1 and 3
    assert torch.equal(reader.angles.bias, torch.full((3,), 3.0))


def test_deep3d_quad_undoes_a_known_camera():
    """Landmarks made by a scaled orthographic camera: the mean face's origin lies in the middle of the crop."""
    mean_face = np.array([[-0.3, 0.3, 0.3], [0.3, 0.3, 0.3], [0, 0, 0.6], [-0.25, -0.4, 0.35], [0.25, -0.4, 0.35]])
    five = mean_face[:, :2] * [90, -90] + [140, 120]  # y up to y down
    landmarks = np.zeros((68, 2))
    for points, place in zip(((36, 39), (42, 45), (30,), (48,), (54,)), five, strict=True):
        landmarks[list(points)] = place
    quad = deep3d_quad(landmarks, mean_face)
    half = 112 * 90 / 102
    assert quad == pytest.approx(np.array([[140 - half, 120 - half], [140 - half, 120 + half],
                                           [140 + half, 120 + half], [140 + half, 120 - half]]))  # fmt: skip


@pytest.mark.parametrize("reader", [Deep3D, Deca])
def test_missing_and_wrong_files(reader, tmp_path):
    with pytest.raises(BackendError, match="expected at"):
        reader(tmp_path)
    for name in ("deep3dfacerecon.pth", "deca_model.tar"):
        torch.save({"net_recon": {}, "E_flame": {}}, tmp_path / name)
    with pytest.raises(BackendError, match="is missing in"):
        reader(tmp_path)
    for name in ("deep3dfacerecon.pth", "deca_model.tar"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(BackendError, match="can be read"):
        reader(tmp_path)

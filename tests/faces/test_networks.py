"""The converted networks against the original graphs, and what the package carries."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from vivface.errors import BackendError
from vivface.faces.detection import anchor_centers
from vivface.faces.networks import load_network
from vivface.faces.networks.loading import NETWORKS

GOLDENS = Path(__file__).parent / "goldens" / "networks.npz"  # by training/tools/convert_face_networks.py --goldens


@pytest.fixture(scope="module")
def goldens() -> dict[str, np.ndarray]:
    with np.load(GOLDENS) as archive:
        return dict(archive)


def outputs_of(network: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        outputs = network(images)
    return outputs if isinstance(outputs, tuple) else (outputs,)


FACE_NETWORKS = [name for name in NETWORKS if name != "person_segmentation"]


@pytest.mark.parametrize("name", FACE_NETWORKS)
def test_answers_as_the_original(goldens, name):
    top, left, size = goldens[f"{name}.crop"]
    crop = torch.from_numpy(goldens["image"][top : top + size, left : left + size].copy())
    pixels = crop.permute(2, 0, 1)[None].float()
    outputs = outputs_of(load_network(name), pixels / 127.5 - 1 if name.endswith("detector") else pixels / 255)
    for part, output in enumerate(outputs):
        expected = goldens[f"{name}.{part}"]
        output = output[0].numpy()
        if name == "full_range_detector":  # every fourth anchor was kept
            output = output[::4]
        error = np.abs(output.reshape(expected.shape) - expected).max() / np.abs(expected).max()
        assert error < 1e-3


def test_segments_as_the_original(goldens):
    image = np.pad(goldens["image"], ((32, 32), (32, 32), (0, 0)), "reflect")
    (found,) = outputs_of(
        load_network("person_segmentation"), torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    )
    assert np.abs(found[0, 0, ::4, ::4].numpy() - goldens["person_segmentation"]).max() < 1e-3
    assert goldens["person_segmentation"].max() > 0.9 and goldens["person_segmentation"].min() < 0.1


@pytest.mark.parametrize("name", NETWORKS)
class TestNetworks:
    def test_batch_is_what_its_images_are_alone(self, name):
        network = load_network(name)
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(2, 3, network.image_size, network.image_size, generator=generator)
        both, alone = outputs_of(network, images), outputs_of(network, images[1:])
        for together, single in zip(both, alone, strict=True):
            torch.testing.assert_close(together[1:], single, atol=1e-3, rtol=1e-3)

    def test_plain_functions_compute_what_the_modules_do(self, name, monkeypatch):
        network = load_network(name)
        monkeypatch.setattr("vivface.faces.networks.loading.prepare", lambda network: network)
        modules = load_network(name)
        images = torch.rand(2, 3, network.image_size, network.image_size, generator=torch.Generator().manual_seed(0))
        tolerance = 1e-4 if name == "attention_mesh" else 0.0  # pixels: its regions are computed side by side
        for ours, theirs in zip(outputs_of(network, images), outputs_of(modules, images), strict=True):
            torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0.0)

    def test_wrong_shape(self, name):
        with pytest.raises(ValueError, match=r"`image` has shape \(1, 3, 60, 60\)"):
            load_network(name)(torch.zeros(1, 3, 60, 60))


@pytest.mark.parametrize("name", ["short_range_detector", "full_range_detector"])
def test_one_anchor_for_each_output(name):
    network = load_network(name)
    scores, _ = network(torch.zeros(1, 3, network.image_size, network.image_size))
    centers = anchor_centers(network)
    assert centers.shape == (scores.shape[1], 2)
    assert centers.min() > 0 and centers.max() < 1


def test_damaged_weights(monkeypatch, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "attention_mesh.safetensors").write_bytes(b"nothing")
    monkeypatch.setattr("vivface.faces.networks.loading.files", lambda _: tmp_path)
    with pytest.raises(BackendError, match="attention_mesh.safetensors' cannot be read"):
        load_network("attention_mesh")


def test_weights_are_small_and_their_origin_is_told():
    folder = files("vivface.faces") / "weights"
    notice = (folder / "NOTICE").read_text()
    sizes = {path.name: len(path.read_bytes()) for path in folder.iterdir() if path.name.endswith(".safetensors")}
    assert set(sizes) == {*(f"{name}.safetensors" for name in NETWORKS), "calibration.safetensors"}
    assert all(name in notice for name in sizes)
    assert sum(sizes.values()) < 8e6

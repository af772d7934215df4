"""Image metrics against values by hand and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from vivface.errors import BackendError
from vivface.metrics.csim import Csim, csim, load_arcface
from vivface.metrics.fid import Inception
from vivface.metrics.fvd import load_i3d
from vivface.metrics.l1 import L1, l1
from vivface.metrics.lpips import RecognizerDistance, load_lpips
from vivface.metrics.psnr import Psnr, psnr
from vivface.metrics.ssim import Ssim, ssim
from vivface.models.identity import IdentityNetwork


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    a = torch.rand(3, 3, 40, 48, generator=random) * 2 - 1
    return a, (a + 0.3 * torch.randn(a.shape, generator=random)).clamp(-1, 1)


def test_l1_by_hand():
    image, target = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    image[0] = 0.5
    image[1, 0] = -0.3  # one channel of three
    assert torch.allclose(l1(image, target), torch.tensor([0.5, 0.1], dtype=torch.float64))
    assert l1(image, target, scale=127.5)[0] == pytest.approx(63.75)


def test_psnr_by_hand_and_scikit_image(images):
    assert float(psnr(torch.full((1, 3, 8, 8), 0.2), torch.zeros(1, 3, 8, 8))) == pytest.approx(20.0, abs=1e-5)
    for a, b, value in zip(*(x.double().numpy() for x in images), psnr(*images).tolist(), strict=True):
        assert value == pytest.approx(peak_signal_noise_ratio(b, a, data_range=2.0), abs=1e-6)
    assert float(psnr(images[0][:1], images[0][:1])) == 100.0


def test_ssim_is_that_of_scikit_image(images):
    levels = [(x.double().numpy() + 1) / 2 for x in images]
    for a, b, value in zip(*levels, ssim(*images).tolist(), strict=True):
        expected = structural_similarity(
            a, b, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert value == pytest.approx(expected, abs=1e-6)


def test_ssim_is_that_of_torchmetrics(images):
    """Whose convolution is much slower; it counts windows at the border, too."""
    a, b = ((x.double() + 1) / 2 for x in images)
    _, places = structural_similarity_index_measure(
        a, b, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    assert torch.allclose(ssim(*images), places[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)), atol=1e-12)


@pytest.mark.parametrize("metric", [L1, Psnr, Ssim])
def test_streaming_is_the_mean_of_all_frames(metric, images):
    whole, parts = metric(), metric()
    values = whole.update(*images)
    parts.update(images[0][:1], images[1][:1])
    parts.update(images[0][1:], images[1][1:])
    assert whole.compute() == pytest.approx(float(values.mean()))
    assert parts.compute() == pytest.approx(whole.compute())
    assert parts.count == 3
    assert metric().compute() is None


def test_images_of_other_shapes_are_refused(images):
    with pytest.raises(ValueError, match="expected"):
        l1(images[0], images[1][:, :, 1:])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        L1().update(torch.full((1, 3, 4, 4), torch.nan), torch.zeros(1, 3, 4, 4))


def test_csim_by_hand():
    a, b = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    assert torch.allclose(csim(a, b), torch.tensor([0.6, 0.0], dtype=torch.float64))
    streaming = Csim()
    streaming.update(a, b)
    assert streaming.compute() == pytest.approx(0.3)


def test_recognizer_distance_by_hand(images):
    torch.manual_seed(0)
    network = IdentityNetwork((4, 4, 8, 8, 16), (1, 1, 1, 1), embedding_dim=16, image_size=16).eval()
    a, b = (torch.nn.functional.interpolate(x, (64, 64)) for x in images)
    values = RecognizerDistance(network).update(a, b)
    assert torch.equal(RecognizerDistance(network).update(a, a), torch.zeros(3))
    expected = []
    for x, y in zip(network.features(network.crop(a[:1])), network.features(network.crop(b[:1])), strict=True):
        x, y = (z / (z.square().sum(1, keepdim=True) + 1e-10).sqrt() for z in (x, y))
        expected.append((x - y).square().sum(1).mean().item())
    assert values[0].item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_missing_weights_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for load in (load_lpips, Inception, lambda: load_i3d(tmp_path), lambda: load_arcface(tmp_path / "ir_se50")):
        with pytest.raises(BackendError, match="needs") as error:
            load()
        assert "\n" not in str(error.value)


def test_another_identity_network_is_not_csim(tmp_path):
    IdentityNetwork((4, 4, 8, 8, 16), (1, 1, 1, 1), embedding_dim=16, image_size=16).save_pretrained(tmp_path)
    with pytest.raises(BackendError, match="another identity network"):
        load_arcface(tmp_path)


def test_inception_loads_a_file_of_the_published_layout(tmp_path, monkeypatch):
    """Random numbers in every entry that the published file has; the features are pooled and of 2048."""
    import torch_fidelity.feature_extractor_inceptionv3 as published

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    torch.manual_seed(0)
    file = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    with monkeypatch.context() as patch:
        patch.setattr(published, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(published.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.save(published.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict(), file)
    features = Inception(tmp_path)(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert features.shape == (2, 2048)
    assert float((features[0] - features[1]).abs().max()) > 0
    file.write_bytes(b"no weights")
    with pytest.raises(BackendError, match="cannot be loaded"):
        Inception(tmp_path)

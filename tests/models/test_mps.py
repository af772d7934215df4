"""Every operation of the inference path exists on MPS."""

import pytest
import torch
import torch.nn.functional as F

from tests.models.bundled import load_bundled, reenact
from tests.models.mps import LikeMPS, MissingOnMPS, has_kernel
from vivface.models.layers.pooling import average_pool, pool_by_matrices
from vivface.models.refinement import generate_refined


@pytest.fixture(scope="module")
def networks():
    return {name: network.to("meta") for name, network in load_bundled().items()}


@pytest.fixture
def face():
    return torch.zeros(1, 3, 128, 128, device="meta")


class TestBundled:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_reenactment(self, networks, face, dtype):
        networks = {name: network.to(dtype) for name, network in networks.items()}
        with torch.no_grad(), LikeMPS() as watched:
            made = reenact(networks, face)
        assert made["refined"].shape == (1, 3, 128, 128) and made["refined"].dtype == dtype
        assert {"convolution", "native_batch_norm", "native_layer_norm", "upsample_bilinear2d"} <= watched.seen

    def test_adaptation(self, networks, face):
        """Forward and backward through generator, refinement and recognizer, as fitting them to a portrait needs."""
        networks = {name: network.to(torch.float32) for name, network in networks.items()}
        generator = networks["generator"]
        w_plus = torch.zeros(1, generator.num_latents, 128, device="meta", requires_grad=True)
        with LikeMPS() as watched:
            _, refined = generate_refined(generator, networks["refinement"], generator.to_stylespace(w_plus), face)
            crops = networks["recognizer"].crop(refined), networks["recognizer"].crop(face)
            sum(networks["recognizer"].compare(*crops)).backward()
        assert w_plus.grad.shape == w_plus.shape
        assert {"convolution_backward", "native_batch_norm_backward"} <= watched.seen


class TestPooling:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 48, 64, 112])
    @pytest.mark.parametrize("height", [1, 2, 5, 48, 94, 113, 188])
    def test_matrices_average_as_adaptive_pooling_does(self, height, size):
        x = torch.rand(2, 3, height, 2 * height + 1, dtype=torch.float64) * 2 - 1
        assert torch.allclose(pool_by_matrices(x, size), F.adaptive_avg_pool2d(x, size), rtol=0, atol=1e-12)
        single = x.float()
        assert torch.allclose(pool_by_matrices(single, size), F.adaptive_avg_pool2d(single, size), rtol=0, atol=1e-6)

    def test_gradients_are_alike(self):
        ours = torch.randn(1, 3, 94, 94, requires_grad=True)
        torchs = ours.detach().clone().requires_grad_()
        pool_by_matrices(ours, 48).square().sum().backward()
        F.adaptive_avg_pool2d(torchs, 48).square().sum().backward()
        assert torch.allclose(ours.grad, torchs.grad, rtol=0, atol=1e-6)

    def test_any_size_where_a_device_lacks_adaptive_pooling(self):
        with LikeMPS():
            assert average_pool(torch.zeros(2, 3, 94, 95, device="meta"), 48).shape == (2, 3, 48, 48)


class TestTheWatch:
    """The guard itself refuses what it should."""

    @pytest.mark.parametrize(
        ("call", "reason"),
        [
            (lambda x: F.adaptive_avg_pool2d(x, 48), "divide"),
            (lambda x: F.interpolate(x, (48, 48), mode="area"), "divide"),
            (lambda x: F.interpolate(x, (48, 48), mode="bilinear", antialias=True), "2.7"),
            (lambda x: x.double(), "float64"),
            (
                lambda x: F.batch_norm(x.half(), torch.zeros_like(x[0, :, 0, 0]), torch.ones_like(x[0, :, 0, 0])),
                "types",
            ),
        ],
        ids=["adaptive pooling", "area", "antialias", "float64", "mixed norm"],
    )
    def test_refuses(self, call, reason):
        with pytest.raises(MissingOnMPS, match=reason), LikeMPS():
            call(torch.zeros(1, 3, 94, 94, device="meta"))

    def test_knows_what_has_no_kernel(self):
        assert has_kernel("convolution") and has_kernel("leaky_relu_") and has_kernel("mm")
        assert not has_kernel("linalg_eig")

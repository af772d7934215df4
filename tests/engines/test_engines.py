"""Networks by ONNX Runtime and OpenVINO: the same numbers as PyTorch's, for any batch and any weights."""

import copy
from pathlib import Path

import cv2
import pytest
import torch

from vivface.engines import Engine, get_engine
from vivface.engines.calls import Call, NoGraphError, put_together, take_apart
from vivface.engines.engine import Choices
from vivface.engines.graphs import graph_name
from vivface.errors import BackendError, OptionError
from vivface.faces.networks.loading import NETWORKS, load_network
from vivface.media.images import load_image
from vivface.models.refinement import generate_refined
from vivface.models.stylegan2 import SynthesisState

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OTHERS = ("onnxruntime", "openvino")
TOLERANCE = 1e-3  # of the range


@pytest.fixture(params=OTHERS)
def engine(request, store) -> Engine:
    pytest.importorskip(
        request.param, reason=f"{request.param} is not installed: pip install 'vivface[{request.param}]'"
    )
    return Engine(request.param, store)


def assert_same(made: object, expected: object) -> None:
    """Compare tensors and what holds them."""
    ours, theirs = [], []
    assert take_apart(made, ours) == take_apart(expected, theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= TOLERANCE * (b.max() - b.min())


@pytest.mark.slow
class TestParity:
    @pytest.fixture(autouse=True)
    def without_gradients(self):
        with torch.no_grad():
            yield

    @pytest.mark.parametrize("name", NETWORKS)
    def test_faces(self, engine, name):
        network, fast = load_network(name), load_network(name, engine=engine)
        face = load_image(EXAMPLES / "portrait.png")
        face = torch.from_numpy(cv2.resize(face, (network.image_size, network.image_size))).permute(2, 0, 1) / 255
        images = torch.stack([face, face.flip(2)])
        assert_same(fast(images), network(images))

    def test_encoder_and_transformer(self, engine, tiny_pipeline):
        encoder, transformer = tiny_pipeline.encoder.eval(), tiny_pipeline.transformer.eval()
        images = torch.rand(5, 3, 64, 64) * 2 - 1
        memory = encoder(images[:1]).memory
        for count in (3, 5, 1):  # one graph for all
            motion = encoder(images[:count], identity=False, memory=False).motion
            assert_same(engine(encoder)(images[:count], identity=False, memory=False).motion, motion)
            assert_same(engine(transformer)(motion, memory), transformer(motion, memory))

    def test_generator_and_refinement_with_any_weights(self, engine, tiny_pipeline):
        refinement = tiny_pipeline.refinement.eval()
        tuned = copy.deepcopy(tiny_pipeline.generator)
        torch.nn.init.normal_(tuned.constant)
        reference = torch.rand(1, 3, 64, 64) * 2 - 1
        for generator in (tiny_pipeline.generator, tuned):
            styles = generator.to_stylespace(generator.sample_latents(2))
            expected = generate_refined(generator, refinement, styles, reference)
            assert_same(generate_refined(engine(generator), engine(refinement), styles, reference), expected)
            generator.constant.mul_(0.5)  # tuned further
            changed = generate_refined(engine(generator), engine(refinement), styles, reference)
            assert_same(changed, generate_refined(generator, refinement, styles, reference))
            assert (changed[0] - expected[0]).abs().max() > 0.01
            generator.constant.mul_(2.0)


class TestWhoComputes:
    class Counting(torch.nn.Linear):
        calls: list[int] = []  # of the class: an export would put back what it changes in an object

        def forward(self, x):
            self.calls.append(2 if isinstance(x.shape[0], torch.SymInt) else x.shape[0])
            return super().forward(x)

    @pytest.fixture
    def network(self) -> "TestWhoComputes.Counting":
        self.Counting.calls.clear()
        return self.Counting(4, 3).eval()

    def test_gradients_training_and_other_types_are_left_to_pytorch(self, engine, network):
        x, fast = torch.rand(2, 4), engine(network)
        fast(x).sum().backward()
        with torch.no_grad():
            fast.train()(x)
            fast.eval()
            fast(x)
            assert network.calls[:2] == [2, 2]
            count = len(network.calls)  # with those that made the graph
            fast(x), fast(x[:1])
            assert len(network.calls) == count
            network.double()
            fast(x.double())
        assert len(network.calls) == count + 1

    def test_the_same_proxy_for_the_same_network_and_none_for_a_copy(self, engine, network):
        assert engine(network) is engine(network)
        assert engine(copy.deepcopy(network)) is not engine(network)
        assert engine(network).weight is network.weight

    def test_what_cannot_be_a_graph_is_computed_by_pytorch(self, engine, caplog):
        class Loop(torch.nn.Linear):
            def forward(self, x):
                return super().forward(x) if x.sum() > 0 else x

        network = Loop(4, 3).eval()
        with torch.no_grad():
            assert engine(network)(torch.ones(2, 4)).shape == (2, 3)
            assert engine(network)(-torch.ones(2, 4)).shape == (2, 4)
        assert "PyTorch computes it" in caplog.text

    @torch.no_grad()
    def test_auto_measures_once_and_takes_the_fastest(self, store, network, monkeypatch):
        engine, x = Engine("auto", store), torch.rand(2, 4)
        assert torch.allclose(engine(network)(x), network(x), atol=1e-6)
        key = f"{graph_name(network, Call.of((x,), {}))}-{torch.get_num_threads()}"
        chosen = Choices(store).get(key)
        assert chosen in ("torch", *OTHERS)
        monkeypatch.setattr("vivface.engines.engine._measure", lambda run: pytest.fail("measured again"))
        for fastest in ("torch", *engine.candidates):
            Choices(store).put(key, fastest, {})
            again = Engine("auto", store)(copy.deepcopy(network))
            network.calls.clear()
            again(x), again(x)
            assert network.calls == ([2, 2] if fastest == "torch" else [])


class TestNames:
    def test_unknown(self):
        with pytest.raises(OptionError, match="onnxruntime"):
            Engine("tensorrt")

    def test_not_installed(self, monkeypatch):
        monkeypatch.setattr("vivface.engines.engine.find_spec", lambda name: None)
        with pytest.raises(BackendError, match=r"vivface\[openvino\]"):
            Engine("openvino")
        assert Engine("auto").candidates == []


class TestCalls:
    def test_apart_and_together(self):
        value = {
            "a": [torch.ones(2), None, "x"],
            "b": (1.5, True),
            "c": SynthesisState("convs.1", torch.zeros(1), None),
        }
        tensors = []
        again = put_together(take_apart(value, tensors), tensors)
        assert again["a"][0] is value["a"][0] and again["b"] == value["b"] and again["c"] == value["c"]

    def test_no_classes_of_others(self):
        with pytest.raises(NoGraphError):
            take_apart(object(), [])
        with pytest.raises(NoGraphError):
            put_together({"class": "os:system", "fields": {}}, [])

    def test_which_tensors_count_the_batch(self):
        call = Call.of((torch.ones(3, 2), torch.ones(1, 2)), {"x": torch.ones(3)})
        assert call.batch == 3 and call.batched == (True, False, True)
        assert Call.of((torch.ones(1, 2),), {}).batched == (False,)


class TestTorchSettings:
    @pytest.mark.parametrize("name", ["torch:", "torch:fp8", "torch:bf16,fast"])
    def test_refused(self, name):
        with pytest.raises(OptionError, match="channels-last"):
            get_engine(name)

    def test_plain(self):
        assert get_engine("torch") is None

    @torch.no_grad()
    @pytest.mark.parametrize(("name", "tolerance"), [("torch:channels-last", 1e-5), ("torch:bf16,channels-last", 3e-2)])
    def test_frames_are_the_same(self, tiny_pipeline, name, tolerance):
        generator, refinement = copy.deepcopy(tiny_pipeline.generator).eval(), copy.deepcopy(tiny_pipeline.refinement)
        engine, reference = get_engine(name), torch.rand(1, 3, 64, 64) * 2 - 1
        styles = generator.to_stylespace(generator.sample_latents(2))
        expected = generate_refined(generator, refinement.eval(), styles, reference)
        made = generate_refined(engine(generator), engine(refinement), styles, reference)
        for a, b in zip(made, expected, strict=True):
            assert a.dtype == torch.float32
            assert (a - b).abs().mean() <= tolerance * (b.max() - b.min())
        assert generator.conv1.weight.is_contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def test_compiled(self, tiny_pipeline, monkeypatch):
        """The graph that `torch.compile` captures is run as it is: no compiler of C++ is needed here."""
        compiled = []
        compile_network = torch.compile

        def with_own_backend(network, **options):
            compiled.append(options)
            return compile_network(network, backend="eager")

        monkeypatch.setattr(torch, "compile", with_own_backend)
        encoder, images = copy.deepcopy(tiny_pipeline.encoder).eval(), torch.rand(2, 3, 64, 64) * 2 - 1
        expected = encoder(images, identity=False, memory=False)
        for name in ("torch:compile", "torch:graphs"):
            assert_same(get_engine(name)(encoder)(images, identity=False, memory=False), expected)
        assert compiled == [{}, {"mode": "reduce-overhead"}]

    def test_training_is_left_alone(self, tiny_pipeline):
        transformer = copy.deepcopy(tiny_pipeline.transformer).eval()
        motion = torch.rand(1, 10, 32, requires_grad=True)
        made = get_engine("torch:bf16")(transformer)(motion, torch.rand(1, 16, 32))
        made.sum().backward()
        assert motion.grad is not None


class TestPipeline:
    def test_frames_are_the_same(self, tiny_checkpoint, portrait, motion_file, engine):
        from vivface import VivFacePipeline

        plain = VivFacePipeline.from_pretrained(tiny_checkpoint)
        fast = VivFacePipeline.from_pretrained(tiny_checkpoint).use_engine(engine)
        expected = list(plain(portrait, motion_file, batch_size=2))
        identity = plain.encode_identity(portrait)
        assert fast.network(fast.generator) is not fast.generator
        frames = list(fast(identity, motion_file, batch_size=2))
        assert max(abs(a.astype(int) - b.astype(int)).max() for a, b in zip(frames, expected, strict=True)) <= 1

    def test_a_tuned_generator_is_computed_by_the_engine_too(self, tiny_checkpoint, portrait, motion_file, engine):
        from vivface import VivFacePipeline

        plain = VivFacePipeline.from_pretrained(tiny_checkpoint)
        tuned = plain.encode_identity(portrait, adapt=14)
        assert tuned.generator is not None
        expected = list(plain(tuned, motion_file, batch_size=2))
        fast = VivFacePipeline.from_pretrained(tiny_checkpoint).use_engine(engine)
        frames = list(fast(tuned, motion_file, batch_size=2))
        assert max(abs(a.astype(int) - b.astype(int)).max() for a, b in zip(frames, expected, strict=True)) <= 1

    def test_unknown_engine(self, tiny_checkpoint):
        from vivface import VivFacePipeline

        with pytest.raises(OptionError, match="openvino"):
            VivFacePipeline.from_pretrained(tiny_checkpoint, engine="magic")

"""Networks are called as modules, so that compiled networks and offloading hooks take part."""

import accelerate
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module

from vivface.models import (
    DeformationTransformer,
    HybridEncoder,
    IdentityNetwork,
    RefinementNetwork,
    StyleGAN2Generator,
)
from vivface.models.refinement import generate_refined


@pytest.fixture
def networks():
    """Small networks that fit together; the refinement changes something."""
    torch.manual_seed(0)
    networks = {
        "encoder": HybridEncoder(64, (8, 8, 12, 16, 24), (1, 1, 1, 1), num_latents=10, style_dim=24),
        "transformer": DeformationTransformer(24, layers=2, heads=4, feed_forward=32),
        "generator": StyleGAN2Generator(64, 24, 2, channels=[24, 24, 16, 12, 8]),
        "refinement": RefinementNetwork(64, 8, (4, 6, 8, 10), (6, 8), hidden=8),
        "recognizer": IdentityNetwork((4, 4, 8, 12, 16), (1, 1, 1, 1), 20, 48),
    }
    for conv in (networks["refinement"].modulator.scale2, networks["refinement"].modulator.shift2):
        torch.nn.init.normal_(conv.weight, std=0.5)
    return {name: network.eval().requires_grad_(False) for name, network in networks.items()}


@pytest.fixture
def face():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def reenact(networks, face, batch=2):
    """Everything that a pipeline does with the networks."""
    source = networks["encoder"](face)
    frames = torch.cat([face.flip(3) * (1 - i / 10) for i in range(batch)])
    motion = networks["transformer"](networks["encoder"](frames).motion, source.memory)
    generator = networks["generator"]
    styles = generator.add_motion(generator.to_stylespace(source.identity), motion)
    stage1, refined = generate_refined(generator, networks["refinement"], styles, face)
    direct = generator(source.identity.expand(batch, -1, -1), motion)
    likeness = networks["recognizer"](refined[..., 8:56, 8:56])
    return {"stage1": stage1, "refined": refined, "direct": direct, "likeness": likeness}


class Compiler:
    """A backend that runs the captured graphs as they are, and counts."""

    def __init__(self):
        self.graphs, self.calls = 0, 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*arguments):
            self.calls += 1
            return graph.forward(*arguments)

        return run


class Counter(ModelHook):
    """Counts what an offloading hook would see."""

    def __init__(self):
        self.seen = 0

    def pre_forward(self, module, *args, **kwargs):
        self.seen += 1
        return args, kwargs


class TestCompiled:
    @pytest.fixture(autouse=True)
    def fresh(self):
        torch.compiler.reset()
        yield
        torch.compiler.reset()

    def test_every_network_is_one_graph_and_gives_the_same(self, networks, face):
        with torch.no_grad():
            expected = reenact(networks, face)
            compilers = {name: Compiler() for name in networks}
            compiled = {
                name: torch.compile(network, backend=compilers[name], fullgraph=True)
                for name, network in networks.items()
            }
            made = reenact(compiled, face)
        assert all(torch.equal(made[name], image) for name, image in expected.items())
        calls = {name: compiler.calls for name, compiler in compilers.items()}
        assert calls == {"encoder": 2, "transformer": 1, "generator": 4, "refinement": 1, "recognizer": 1}

    def test_another_batch_is_compiled_too(self, networks):
        compiler, generator = Compiler(), networks["generator"]
        compiled = torch.compile(generator, backend=compiler, fullgraph=True)
        for batch in (1, 2):
            w_plus = torch.randn(batch, 10, 24)
            with torch.no_grad():
                assert torch.equal(compiled(w_plus), generator(w_plus))
        assert compiler.calls == 2

    def test_compiled_in_place(self, networks, face):
        with torch.no_grad():
            expected = reenact(networks, face)["refined"]
            compilers = {name: Compiler() for name in ("generator", "refinement")}
            for name, compiler in compilers.items():
                networks[name].compile(backend=compiler, fullgraph=True)
            made = reenact(networks, face)["refined"]
        assert torch.equal(made, expected)
        assert (compilers["generator"].calls, compilers["refinement"].calls) == (4, 1)


class TestOffloaded:
    def test_hooks_fire_at_every_use(self, networks, face):
        counters = {name: Counter() for name in networks}
        with torch.no_grad():
            expected = reenact(networks, face)
            for name, counter in counters.items():
                add_hook_to_module(networks[name], counter)
            made = reenact(networks, face)
        assert all(torch.equal(made[name], image) for name, image in expected.items())
        seen = {name: counter.seen for name, counter in counters.items()}
        # The generator's fifth: to_stylespace
        assert seen == {"encoder": 2, "transformer": 1, "generator": 5, "refinement": 1, "recognizer": 1}

    @pytest.mark.parametrize("method", ["to_stylespace", "sample_latents", "compare"])
    def test_hooks_fire_for_methods_that_need_weights(self, networks, face, method):
        calls = {
            "to_stylespace": lambda: networks["generator"].to_stylespace(torch.zeros(1, 10, 24)),
            "sample_latents": lambda: networks["generator"].sample_latents(1),
            "compare": lambda: networks["recognizer"].compare(face[..., :48, :48], face[..., 8:56, 8:56]),
        }
        counter = Counter()
        add_hook_to_module(networks["recognizer" if method == "compare" else "generator"], counter)
        calls[method]()
        assert counter.seen == 1

    def test_weights_that_come_layer_by_layer(self, networks, face):
        """As `enable_sequential_cpu_offload` does: weights lie aside and come when a layer is called."""
        with torch.no_grad():
            expected = reenact(networks, face)
            for network in networks.values():
                accelerate.cpu_offload(network, execution_device=torch.device("cpu"))
            assert networks["generator"].constant.is_meta
            made = reenact(networks, face)
        assert all(torch.equal(made[name], image) for name, image in expected.items())

    def test_whole_networks_in_turn(self, networks, face):
        """As `enable_model_cpu_offload` does."""
        hook = None
        with torch.no_grad():
            expected = reenact(networks, face)
            for network in networks.values():
                _, hook = accelerate.cpu_offload_with_hook(network, torch.device("cpu"), prev_module_hook=hook)
            made = reenact(networks, face)
        assert all(torch.equal(made[name], image) for name, image in expected.items())

    def test_a_state_moves_as_one(self, networks):
        generator = networks["generator"]
        state = generator(torch.zeros(1, 10, 24), stop_after=generator.refinement_layer).to("meta", torch.float16)
        assert state.feature.is_meta and state.rgb.is_meta and state.feature.dtype == torch.float16
        assert generator(torch.zeros(1, 10, 24), stop_after="conv1").to("meta").rgb is None

"""What every system gets from the base: loading options, hooks, and the main job from two readers and `generate`."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

import vivface
from tests.clips import read_times
from tests.motion import ListedMotion
from vivface import CheckpointError, IdentityCode, MotionCodes, OptionError, VivFacePipeline, load_pipeline
from vivface.faces.mesh_backend import MeshBackend
from vivface.pipelines import accelerated, pipeline_class
from vivface.pipelines.base import ReenactmentPipeline
from vivface.warping.mesh import PointsReader


class Shade(ModelMixin, ConfigMixin):
    """Reads a frame's mean brightness, and paints it."""

    @register_to_config
    def __init__(self, size: int = 32):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, images):
        return images.mean((1, 2, 3))[:, None] * self.scale[:1]  # (batch, 1)


class ShadePipeline(ReenactmentPipeline):
    """The smallest system: one number a frame, and images of one grey."""

    COMPONENTS = {"shade": Shade}
    MOTION_READER = "shade"
    code_shape = (1,)
    output_size = 16

    def __init__(self, shade: Shade, image_size: int = 32, crop: str = "ffhq", adapt_steps: int = 0):
        super().__init__()
        self.register({"shade": shade}, image_size=image_size, crop=crop, adapt_steps=adapt_steps)

    def read_portrait(self, portrait):
        reference = self.images([portrait.crop(self.config.crop, self.config.image_size)])
        return IdentityCode(
            w_plus=reference.new_zeros(1, 1, 1),
            styles=[],
            motion=self.shade(reference),
            reference=reference,
            photo=portrait.image,
            quad=portrait.quad,
        )

    def read_motion(self, images):
        return self.shade(images)

    def generate(self, identity, motion, refine=True):
        return motion[:, :, None, None].expand(-1, 3, self.output_size, self.output_size)


class LandmarksAlone:
    """Finds 68 landmarks and no mesh, as dlib does."""

    name = "landmarks alone"

    def __init__(self):
        self._backend = MeshBackend()

    def detect(self, image, *, effort="normal", near=None):
        return [replace(face, points=None) for face in self._backend.detect(image, effort=effort, near=near)]

    def refine(self, image, face):
        face = self._backend.refine(image, face)
        return None if face is None else replace(face, points=None)


class TestASystemOfThreeMethods:
    @pytest.fixture
    def system(self):
        pipeline = ShadePipeline(Shade())
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def test_does_the_whole_job(self, system, portrait, face_clip, tmp_path):
        result = system(portrait, face_clip)
        assert read_times(result.save(tmp_path / "out.mp4")) == read_times(face_clip)
        crops = [frame.crop for frame in result.motion._driving.frames([])]
        expected = [np.round(crop.mean()) for crop in crops]
        assert [int(frame[0, 0, 0]) for frame in result] == pytest.approx(expected, abs=1)

    def test_codes_of_any_shape_are_saved(self, system, portrait, face_clip, tmp_path):
        motion = system.encode_motion(face_clip).save(tmp_path / "motion.safetensors")
        assert len(list(system(portrait, motion))) == 21

    def test_the_mesh_is_read_only_for_who_needs_it(self, system, portrait, face_clip, tmp_path, monkeypatch):
        """Detectors that find landmarks alone cost a second network a frame where the photograph moves."""
        seen, read = [], PointsReader.read
        monkeypatch.setattr(PointsReader, "read", lambda *arguments: seen.append(1) or read(*arguments))
        system.use_detector(LandmarksAlone())
        identity = system.encode_identity(portrait)
        assert len(seen) == 1  # the portrait
        assert len(list(system(identity, face_clip, detail=False))) == 21 and len(seen) == 1
        system(identity, face_clip, detail=False).save(tmp_path / "o.mp4", save_motion=tmp_path / "m.safetensors")
        assert len(seen) == 22 and MotionCodes.load(tmp_path / "m.safetensors").has_points
        assert next(iter(system.encode_motion(face_clip))).points.shape == (8, 478, 3)

    def test_cannot_be_tuned_and_says_so(self, system, portrait):
        with pytest.raises(OptionError, match="ShadePipeline is not tuned to portraits"):
            system.encode_identity(portrait, adapt=5)

    def test_saves_and_loads(self, system, tmp_path):
        with torch.no_grad():
            system.shade.scale += 1
        system.save_pretrained(tmp_path / "shade")
        loaded = ShadePipeline.from_pretrained(tmp_path / "shade")
        assert torch.equal(loaded.shade.scale, system.shade.scale)
        with pytest.raises(CheckpointError, match="ShadePipeline"):
            VivFacePipeline.from_pretrained(tmp_path / "shade")


class TestLoadPipeline:
    def test_picks_the_class_of_the_checkpoint(self, tiny_checkpoint):
        assert type(load_pipeline(tiny_checkpoint)) is VivFacePipeline

    def test_the_bundled_one_by_default(self):
        assert load_pipeline().config.image_size == 128

    def test_unknown_system(self, tiny_checkpoint, tmp_path):
        shutil.copytree(tiny_checkpoint, tmp_path / "other")
        index = json.loads((tmp_path / "other" / "model_index.json").read_text())
        (tmp_path / "other" / "model_index.json").write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))
        with pytest.raises(CheckpointError, match="'FluxPipeline'; expected one of: VivFacePipeline"):
            load_pipeline(tmp_path / "other")

    def test_every_known_system_can_be_imported(self):
        from vivface.pipelines import PIPELINES

        for name in PIPELINES:
            assert issubclass(pipeline_class(name), ReenactmentPipeline)


class TestLoadingOptions:
    @pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
    def test_precision(self, tiny_checkpoint, name):
        pipeline = VivFacePipeline.from_pretrained(tiny_checkpoint, **{name: torch.bfloat16})
        assert pipeline.generator.dtype == pipeline.transformer.dtype == torch.bfloat16

    def test_usual_options_are_taken(self, tiny_checkpoint):
        options = dict(use_safetensors=True, low_cpu_mem_usage=False, device_map="cpu", local_files_only=True)
        assert VivFacePipeline.from_pretrained(tiny_checkpoint, **options).device.type == "cpu"

    @pytest.mark.parametrize("device_map", ["auto", "balanced"])
    def test_the_fastest_device(self, tiny_checkpoint, device_map):
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        assert VivFacePipeline.from_pretrained(tiny_checkpoint, device_map=device_map).device.type == kind

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"use_safetensors": False}, "only safetensors"),
            ({"device_map": {"generator": 0}}, "one device"),
            ({"device_map": "gpu"}, "no device 'gpu'"),
            ({"quantisation": 4}, "takes no option 'quantisation'"),
        ],
    )
    def test_what_cannot_be_done_is_said(self, tiny_checkpoint, options, words):
        with pytest.raises(OptionError, match=words):
            VivFacePipeline.from_pretrained(tiny_checkpoint, **options)

    def test_earlier_name_of_the_recognizer(self, tmp_path):
        """Checkpoints once called it `identity`."""
        from tests.tiny import make_tiny_pipeline

        saved = make_tiny_pipeline(recognizer=True)
        saved.save_pretrained(tmp_path)
        index = json.loads((tmp_path / "model_index.json").read_text())
        index["identity"] = index.pop("recognizer")
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        (tmp_path / "recognizer").rename(tmp_path / "identity")
        loaded = VivFacePipeline.from_pretrained(tmp_path)
        assert torch.equal(loaded.recognizer.linear.weight, saved.recognizer.linear.weight)


class CountingHook(ModelHook):
    """Counts the calls that accelerate's hooks see, as CPU offload does."""

    def __init__(self):
        self.calls = 0

    def pre_forward(self, module, *args, **kwargs):
        self.calls += 1
        return args, kwargs


class TestNetworksAreCalledAsModules:
    def test_hooks_see_every_network(self, tiny_checkpoint, portrait, motion_file):
        pipeline = VivFacePipeline.from_pretrained(tiny_checkpoint)
        hooks = {name: CountingHook() for name in ("encoder", "transformer", "generator", "refinement")}
        for name, hook in hooks.items():
            add_hook_to_module(getattr(pipeline, name), hook)
        next(iter(pipeline(portrait, motion_file)))
        assert all(hook.calls > 0 for hook in hooks.values()), {name: hook.calls for name, hook in hooks.items()}

    def test_compiled_networks_are_used_and_give_the_same(self, tiny_checkpoint, portrait, motion_file):
        pipeline = VivFacePipeline.from_pretrained(tiny_checkpoint)
        identity = pipeline.encode_identity(portrait)
        expected = next(iter(pipeline(identity, motion_file)))
        runs = []

        def backend(graph, inputs):
            def run(*arguments):
                runs.append(len(graph.graph.nodes))
                return graph(*arguments)

            return run

        pipeline.generator = torch.compile(pipeline.generator, backend=backend)
        made = next(iter(pipeline(identity, motion_file)))
        assert sum(runs) > 100
        assert np.abs(made.astype(int) - expected).max() <= 1

    def test_offload_order_names_the_components(self):
        named = set(VivFacePipeline.model_cpu_offload_seq.split("->")) | set(VivFacePipeline._exclude_from_cpu_offload)
        assert named == set(VivFacePipeline.COMPONENTS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_bundled_checkpoint_in_half_precision(dtype):
    """Its batch norms hold values beyond float16, which once made another person of everybody."""
    from tests.clips import portrait as portrait_image

    def frame(**options):
        pipeline = VivFacePipeline.from_pretrained(**options)
        pipeline.set_progress_bar_config(disable=True)
        identity = pipeline.encode_identity(portrait_image(), adapt=0)
        motion = ListedMotion(identity.motion.float(), fingerprint=pipeline.fingerprint)
        return next(iter(pipeline(identity, motion))).astype(float)

    assert np.abs(frame(dtype=dtype) - frame()).mean() < 2


class TestBatches:
    def test_follow_device_and_size(self, tiny_pipeline, monkeypatch):
        small = tiny_pipeline.default_batch_size
        monkeypatch.setattr(type(tiny_pipeline), "output_size", 1024)
        assert tiny_pipeline.default_batch_size == 1 < small
        monkeypatch.setattr(type(tiny_pipeline), "_execution_device", torch.device("cuda"))
        free = 80 * 1024**3
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
        assert tiny_pipeline.default_batch_size == accelerated.BATCH_PIXELS["cuda"] // 1024**2 > 1
        free = 4 * 1024**3  # a small GPU
        assert tiny_pipeline.default_batch_size == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "soon", None])
def test_start_has_to_be_a_number(tiny_pipeline, face_clip, value):
    with pytest.raises(OptionError, match="`start`"):
        tiny_pipeline.encode_motion(face_clip, start=value)


@pytest.mark.parametrize("face", [-1, 1.5, "0", True])
def test_faces_are_counted_from_zero(tiny_pipeline, portrait, face):
    with pytest.raises(OptionError, match="`face`"):
        tiny_pipeline.encode_identity(portrait, face=face)


def test_the_package_exports_it():
    assert vivface.load_pipeline is load_pipeline

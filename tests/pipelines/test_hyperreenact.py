"""HyperReenact end to end, with tiny random networks on a real face."""

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module

from tests.clips import read_sound_packets, read_times
from tests.motion import ListedMotion
from tests.tiny import make_tiny_hyperreenact, make_tiny_pipeline
from vivface import HyperReenactPipeline, IdentityCode, MediaError, MotionCodes, OptionError, load_pipeline
from vivface.faces.voxceleb import voxceleb_quad
from vivface.media.tensors import to_images


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hyperreenact") / "tiny"
    make_tiny_hyperreenact().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(checkpoint):
    pipeline = load_pipeline(checkpoint)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def identity(pipeline, portrait):
    return pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def motion(pipeline, face_clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("motion") / "motion.safetensors"
    return pipeline.encode_motion(face_clip).save(path)


def difference(a, b) -> float:
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max())


class TestCheckpoint:
    def test_loads_as_what_it_is(self, pipeline):
        assert type(pipeline) is HyperReenactPipeline
        assert pipeline.config.crop == "voxceleb" and pipeline.config.pose_crop == "deca"
        assert pipeline.config.truncation == 0.7

    def test_components_have_to_fit(self):
        parts = {name: part for name, part in make_tiny_hyperreenact().components.items()}
        parts["generator"] = make_tiny_pipeline().generator
        with pytest.raises(OptionError, match="do not fit together: the hypernetwork's generator channels"):
            HyperReenactPipeline(**parts)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [({"truncation": 1.5}, "`truncation` is 1.5"), ({"pose_crop": "wide"}, "'wide'"), ({"crop": "wide"}, "'wide'")],
    )
    def test_settings_out_of_range(self, settings, words):
        with pytest.raises(OptionError, match=words):
            make_tiny_hyperreenact(**settings)

    def test_offload_order_names_the_components(self):
        assert set(HyperReenactPipeline.model_cpu_offload_seq.split("->")) == set(HyperReenactPipeline.COMPONENTS)

    def test_hooks_see_every_network(self, checkpoint, portrait, motion):
        class Counter(ModelHook):
            calls = 0

            def pre_forward(self, module, *args, **kwargs):
                self.calls += 1
                return args, kwargs

        pipeline = HyperReenactPipeline.from_pretrained(checkpoint)
        pipeline.set_progress_bar_config(disable=True)
        hooks = {name: Counter() for name in ("inversion", "pose", "hypernetwork", "generator")}
        for name, hook in hooks.items():
            add_hook_to_module(getattr(pipeline, name), hook)
        next(iter(pipeline(portrait, motion)))
        assert all(hook.calls > 0 for hook in hooks.values()), {name: hook.calls for name, hook in hooks.items()}


class TestIdentity:
    def test_shapes(self, identity):
        assert identity.w_plus.shape == (1, 10, 16) and identity.memory.shape == (1, 12, 3, 3)
        assert identity.motion.shape == (1, 16, 3, 3) and identity.reference.shape == (1, 3, 64, 64)

    def test_square_is_that_of_the_crop(self, pipeline, identity):
        found = pipeline.backend.detect(identity.photo)[0]
        assert np.allclose(identity.quad, voxceleb_quad(found.landmarks))

    def test_truncation(self, pipeline, identity, portrait):
        full = pipeline.inversion(identity.reference, motion=False, memory=False).identity
        mean = pipeline.generator.latent_avg
        assert torch.allclose(identity.w_plus, mean + 0.7 * (full - mean), atol=1e-6)

    def test_appearance_sees_the_face_where_its_network_expects_it(self, pipeline, identity):
        """The crop of five points has the eyes at ArcFace's places."""
        from vivface.faces.voxceleb import ARCFACE_POINTS
        from vivface.pipelines.hyperreenact import appearance_crop

        points = pipeline.backend.detect(identity.photo)[0].landmarks
        size = 2 * int(np.ptp(points, axis=0).max())
        inside = (points - identity.quad[0]) / size * 64 - 0.5
        marked = torch.full((1, 3, 64, 64), -1.0)
        x, y = np.rint(inside[42:48].mean(0)).astype(int)
        marked[:, :, y - 1 : y + 2, x - 1 : x + 2] = 1.0
        weight = (appearance_crop(marked, inside)[0, 0] + 1).clamp(min=0)
        rows, columns = torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij")
        place = [float((weight * axis).sum() / weight.sum()) for axis in (columns, rows)]
        assert np.abs(np.array(place) - ARCFACE_POINTS[1]).max() < 6

    def test_saved_and_loaded(self, pipeline, identity, motion, tmp_path):
        loaded = IdentityCode.load(identity.save(tmp_path / "identity.safetensors"))
        assert torch.equal(loaded.memory, identity.memory)
        assert difference(next(iter(pipeline(loaded, motion))), next(iter(pipeline(identity, motion)))) == 0

    def test_is_not_tuned(self, pipeline, portrait):
        with pytest.raises(OptionError, match="HyperReenactPipeline is not tuned to portraits"):
            pipeline.encode_identity(portrait, adapt=3)


class TestFrames:
    def test_are_the_definition(self, pipeline, identity):
        """Pose map -> offsets -> generator, frame by frame."""
        crops = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
        with torch.no_grad():
            codes = pipeline.read_motion(crops)
            wanted = []
            for crop in crops:
                offsets = pipeline.hypernetwork(identity.memory, pipeline.pose(crop[None]))
                wanted.extend(to_images(pipeline.generator(styles=identity.styles, offsets=offsets)))
        listed = ListedMotion(codes, fingerprint=pipeline.fingerprint)
        assert difference(list(pipeline.render(identity, listed)), wanted) <= 1

    def test_follow_the_driver(self, pipeline, identity, motion):
        frames = np.stack(list(pipeline(identity, motion)))
        assert frames.shape == (21, 64, 64, 3)
        assert np.abs(np.diff(frames.astype(float), axis=0)).mean() > 0

    def test_strength_zero_keeps_the_sources_own_pose(self, pipeline, identity, motion):
        still = list(pipeline(identity, motion, strength=0.0))
        own = ListedMotion(identity.motion, fingerprint=pipeline.fingerprint)
        assert difference(still, [next(iter(pipeline(identity, own)))] * len(still)) <= 1

    def test_relative_motion_starts_at_the_source(self, pipeline, identity, motion):
        first = next(iter(pipeline(identity, motion, motion_mode="relative")))
        own = ListedMotion(identity.motion, fingerprint=pipeline.fingerprint)
        assert difference(first, next(iter(pipeline(identity, own)))) <= 1

    def test_batches_change_nothing(self, pipeline, identity, motion):
        one, many = (list(pipeline(identity, motion, batch_size=n)) for n in (1, 8))
        assert difference(one, many) <= 1

    def test_pasted_back_outside_the_face_is_the_photo(self, pipeline, identity, motion):
        frame = next(iter(pipeline(identity, motion, paste_back=True)))
        assert frame.shape == identity.photo.shape
        assert np.array_equal(frame[-20:], identity.photo[-20:]) and difference(frame, identity.photo) > 0

    def test_half_precision(self, checkpoint, portrait, identity, motion, pipeline):
        half = HyperReenactPipeline.from_pretrained(checkpoint, dtype=torch.bfloat16)
        half.set_progress_bar_config(disable=True)
        made = next(iter(half(portrait, motion)))
        assert np.abs(made.astype(float) - next(iter(pipeline(identity, motion)))).mean() < 8


class TestMotionFiles:
    def test_have_the_shape_of_the_refined_map(self, pipeline, motion):
        assert MotionCodes.load(motion).code_shape == pipeline.code_shape == (16, 3, 3)

    def test_of_another_system_are_refused(self, pipeline, identity, motion_file, tiny_pipeline, motion, portrait):
        with pytest.raises(
            MediaError, match="10 motion codes of 32 numbers, this checkpoint takes motion maps of 16 x 3 x 3"
        ):
            pipeline(identity, motion_file)
        with pytest.raises(MediaError, match="extract them with this checkpoint"):
            tiny_pipeline(portrait, motion)

    @pytest.mark.parametrize("part", ["pose", "hypernetwork"])
    def test_of_other_weights_are_refused(self, pipeline, identity, part):
        other = make_tiny_hyperreenact(seed=1)
        parts = {**pipeline.components, part: other.components[part]}
        codes = ListedMotion(identity.motion, fingerprint=HyperReenactPipeline(**parts, image_size=64).fingerprint)
        with pytest.raises(MediaError, match="another checkpoint"):
            pipeline(identity, codes)


class TestCommandLine:
    def test_the_whole_job(self, run_cli, checkpoint, portrait, face_clip, tmp_path):
        out, saved = tmp_path / "out.mp4", tmp_path / "motion.safetensors"
        status, _, err = run_cli(
            "reenact",
            portrait,
            face_clip,
            "-o",
            out,
            "--checkpoint",
            checkpoint,
            "--save-motion",
            saved,
            "--paste-back",
        )
        assert status == 0, err
        assert read_times(out) == read_times(face_clip)
        assert read_sound_packets(out) == read_sound_packets(face_clip)
        status, _, err = run_cli("reenact", portrait, saved, "-o", tmp_path / "two.mp4", "--checkpoint", checkpoint)
        assert status == 0, err
        assert read_times(tmp_path / "two.mp4") == read_times(face_clip)

    def test_motion_alone(self, run_cli, checkpoint, face_clip, tmp_path):
        status, _, err = run_cli("motion", face_clip, "-o", tmp_path / "m.safetensors", "--checkpoint", checkpoint)
        assert status == 0, err
        assert MotionCodes.load(tmp_path / "m.safetensors").code_shape == (16, 3, 3)

    def test_several_faces(self, pipeline, face_clip, tmp_path):
        """The asked face drives, its number counted from 0."""
        from vivface import NoFaceError

        with pytest.raises(NoFaceError, match="Face 3 was asked for"):
            list(pipeline.encode_motion(face_clip, face=3))

"""HyperReenact end to end, with tiny random networks on a real face."""

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module

from tests.clips import read_sound_packets, read_times
from tests.conftest import REPOSITORY
from tests.motion import ListedMotion
from tests.tiny import make_tiny_hypernetwork, make_tiny_hyperreenact, make_tiny_pipeline
from vivface import (
    CheckpointError,
    HyperReenactPipeline,
    IdentityCode,
    MediaError,
    MotionCodes,
    OptionError,
    load_pipeline,
)
from vivface.faces.voxceleb import voxceleb_quad
from vivface.media.tensors import to_images

EXAMPLES = REPOSITORY / "examples"


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

    def test_is_not_tuned_where_faces_are_cut_otherwise(self, pipeline, portrait):
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


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    """A ViVFace checkpoint that holds a hypernetwork."""
    folder = tmp_path_factory.mktemp("donor") / "vivface"
    make_tiny_pipeline(recognizer=True).save_pretrained(folder)
    make_tiny_hypernetwork().save_pretrained(folder / "hyperreenact")
    return folder


class TestWithoutPoseEncoder:
    """Built from a ViVFace checkpoint: its motion codes are the pose map."""

    @pytest.fixture(scope="class")
    @classmethod
    def built(cls, donor):
        pipeline = load_pipeline(donor, system="hyperreenact")
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def test_takes_over_the_networks(self, built, donor):
        assert type(built) is HyperReenactPipeline and built.pose is None
        assert built.config.crop == built.motion_crop == "stable" and built.motion_size == 64
        assert built.config.truncation == 1.0 and built.config.adapt_steps == 0
        assert HyperReenactPipeline.from_pretrained(donor, truncation=0.5).config.truncation == 0.5
        assert HyperReenactPipeline.from_pretrained(donor, dtype=torch.bfloat16).hypernetwork.dtype == torch.bfloat16

    def test_frames_are_the_definition(self, built, portrait):
        identity = built.encode_identity(portrait)
        assert identity.memory.shape == (1, 16, 3, 3) and identity.motion.shape == (1, 12, 3, 3)
        crops = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
        with torch.no_grad():
            codes = built.inversion(crops).motion
            pose = codes.flatten(1)[:, :, None, None].repeat(1, 1, 3, 3)
            face = built.appearance.crop(identity.reference)
            offsets = built.hypernetwork(built.appearance.features(face)[-1], pose)
            wanted = to_images(built.generator(built.inversion(identity.reference).identity, offsets=offsets))
            listed = ListedMotion(built.read_motion(crops), fingerprint=built.fingerprint)
        assert difference(list(built.render(identity, listed)), wanted) <= 1

    def test_saved_as_a_checkpoint_of_its_own(self, built, portrait, face_clip, tmp_path):
        built.save_pretrained(tmp_path)
        loaded = load_pipeline(tmp_path)
        loaded.set_progress_bar_config(disable=True)
        assert type(loaded) is HyperReenactPipeline and loaded.pose is None
        frames = [next(iter(pipeline(portrait, face_clip))) for pipeline in (built, loaded)]
        assert difference(*frames) == 0

    def test_is_tuned_to_a_portrait(self, built, portrait, tmp_path):
        """A copy of the generator, with the offsets of the portrait's own pose, comes nearer to the portrait."""
        plain = built.encode_identity(portrait)
        tuned = built.encode_identity(portrait, adapt=24)
        assert plain.generator is None and tuned.generator is not None
        assert not torch.equal(tuned.generator.constant, built.generator.constant)
        target = torch.nn.functional.interpolate(plain.reference, built.output_size, mode="area")
        errors = [(built.generate(each, each.motion) - target).abs().mean() for each in (plain, tuned)]
        assert errors[1] < 0.9 * errors[0]
        loaded = IdentityCode.load(tuned.save(tmp_path / "tuned.safetensors"))
        assert torch.equal(built.generate(loaded, loaded.motion), built.generate(tuned, tuned.motion))

    def test_is_not_tuned_to_the_driver_too(self, built, portrait, face_clip):
        identity = built.encode_identity(portrait)
        with pytest.raises(OptionError, match="HyperReenactPipeline has no use for"):
            built.adjust_manifold(identity, face_clip, method="cma", steps=2)
        assert built.adjust_manifold(identity, method="pti", steps=2).generator is not None

    def test_is_refused_without_a_hypernetwork(self, tiny_checkpoint):
        with pytest.raises(CheckpointError, match="holds no hyperreenact/config.json"):
            load_pipeline(tiny_checkpoint, system="hyperreenact")

    def test_a_hypernetwork_for_other_maps_is_refused(self, built):
        parts = {**built.components, "hypernetwork": make_tiny_hyperreenact().hypernetwork}
        with pytest.raises(OptionError, match="do not fit together"):
            HyperReenactPipeline(**parts, image_size=64, crop="stable")


class TestBundled:
    def test_works_at_once(self, run_cli, portrait, face_clip, tmp_path):
        out = tmp_path / "out.mp4"
        status, _, err = run_cli(
            "reenact", portrait, face_clip, "-o", out, "--system", "hyperreenact", "--duration", "0.3", "--adapt", "14"
        )
        assert status == 0, err
        assert len(read_times(out)) > 0

    def test_pose_and_person_come_from_where_they_should(self):
        """A portrait, driven by its own motion, is nearer to itself than without the hypernetwork; another motion
        changes more than noise."""
        pipeline = load_pipeline(system="hyperreenact")
        pipeline.set_progress_bar_config(disable=True)
        identity = pipeline.encode_identity(EXAMPLES / "portrait.png", adapt=0)
        with torch.no_grad():
            own = pipeline.generate(identity, identity.motion)
            plain = pipeline.generator(styles=identity.styles)
        errors = [float((image - identity.reference).abs().mean()) for image in (own, plain)]
        assert errors[0] < errors[1]
        frames = np.stack(list(pipeline(identity, EXAMPLES / "driving.mp4", duration=1.0))).astype(float)
        assert np.abs(frames[-1] - frames[0]).mean() > 1

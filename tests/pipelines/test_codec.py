"""The 35-number codec: eq. 13, encoding and decoding, files of other checkpoints, stopping and going on."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.clips import read_sound_packets, read_times, write_face_clip
from tests.tiny import make_tiny_pipeline
from tests.tiny_codec import make_components, make_tiny_codec
from vivface import CodedVideo, load_pipeline
from vivface.editing.codec_basis import COMPONENTS_FILE
from vivface.errors import CheckpointError, MediaError, NoFaceError, OptionError
from vivface.media import load_image
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.pipelines.encoding import PipelineCoder, turned


@pytest.fixture(scope="module")
def codec() -> ExpressiveCodecPipeline:
    return make_tiny_codec()


@pytest.fixture(scope="module")
def coded(codec, face_clip) -> CodedVideo:
    return codec.encode(face_clip, identity_steps=2)


class TestEquations:
    @pytest.mark.parametrize("kind", ["channels", "components"])
    def test_picture_of_numbers(self, codec, kind):
        """G(A(L_ID) + pose + values), by hand."""
        generator, basis = codec.generator, codec.basis(kind)
        w_plus = generator.sample_latents(1, generator=torch.Generator().manual_seed(0))
        pose, values = torch.tensor([[10.0, -5.0], [0.0, 0.0]]), torch.randn(2, 32)
        turn = codec.components_basis.turn(pose[:, 0], pose[:, 1])
        styles = generator.add_motion([s.expand(2, -1) for s in generator.to_stylespace(w_plus)], turn)
        if kind == "components":
            styles = generator.add_motion(styles, torch.einsum("bn,ncd->bcd", values, basis.vectors))
        else:
            styles = [style.clone() for style in styles]
            for number, (layer, channel) in enumerate(basis.indices.tolist()):
                styles[layer][:, channel] += values[:, number] * basis.deviation[number]
        with torch.no_grad():
            found = codec.show(w_plus, pose, values, basis)
            torch.testing.assert_close(found, generator(styles=styles), atol=1e-4, rtol=1e-4)

    def test_components_are_read_as_they_are_shown(self):
        components = make_components()
        pose, values = torch.tensor([[12.0, -6.0], [-3.0, 9.0]]), torch.randn(2, 32)
        deformation = components.turn(pose[:, 0], pose[:, 1]) + torch.einsum("bn,ncd->bcd", values, components.vectors)
        expected = torch.cat([pose, values], dim=1)
        torch.testing.assert_close(components.read(deformation), expected, atol=1e-3, rtol=1e-3)

    def test_what_channels_hold_is_carried_over(self, codec):
        """Eq. 7: at another pose, base plus value is what it was."""
        channels, w_plus = codec.channels, codec.generator.sample_latents(1)
        pose, other, values = torch.tensor([[15.0, 0.0]]), torch.tensor([[-10.0, 8.0]]), torch.randn(1, 32)
        carried = PipelineCoder(codec, channels).carry(w_plus, pose, values, other)

        def held(angles, added):
            styles = codec.turner.styles(codec.generator, w_plus, angles[:, 0], angles[:, 1])
            return channels.read(styles) + added

        torch.testing.assert_close(held(other, carried), held(pose, values), atol=1e-4, rtol=1e-4)
        assert (carried - values).abs().max() > 1e-3

    def test_roll_turns_clockwise(self):
        image = torch.zeros(1, 1, 9, 9)
        image[0, 0, 0, 4] = 1.0  # above the middle
        right = turned(image, torch.tensor([90.0]))
        assert right[0, 0, 4, 8] > 0.99
        assert turned(image, torch.zeros(1)) is image


class TestWholeJob:
    def test_a_clip_becomes_numbers(self, coded, face_clip):
        assert len(coded) == 21 and coded.frames.shape == (21, 35) and coded.frames.dtype == torch.float16
        assert coded.bytes_per_frame == 70 and coded.basis == "components" and coded.missing == []
        assert coded.frames[:, 3:].std(0).max() > 0

    def test_the_same_bytes_twice(self, codec, coded, face_clip, tmp_path):
        again = codec.encode(face_clip, identity_steps=2)
        paths = [video.save(tmp_path / f"{n}.vfc", sound=False) for n, video in enumerate((coded, again))]
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_decoding_keeps_times_and_sound(self, codec, coded, face_clip, tmp_path):
        path = coded.save(tmp_path / "talk.vfc")
        assert (tmp_path / "talk.m4a").is_file()
        output = tmp_path / "again.mp4"
        codec.decode(path).save(output)
        assert read_times(output) == read_times(face_clip)
        ours, theirs = read_sound_packets(output), read_sound_packets(face_clip)
        assert [data for _, data in ours] == [data for _, data in theirs]
        assert abs(float(ours[0][0] - theirs[0][0])) < 0.03

    def test_a_frame_decodes_alone(self, codec, coded):
        whole = list(codec.decode(coded, batch_size=21))
        unit = coded.timestamps[1] - coded.timestamps[0]
        one = replace(coded, frames=coded.frames[13:14], timestamps=[0], end=unit, missing=[])
        (alone,) = codec.decode(one)
        assert np.abs(alone.astype(int) - whole[13]).max() <= 1

    def test_another_person(self, codec, coded, portrait):
        frames = list(codec.puppeteer(portrait, coded))
        assert len(frames) == 21 and frames[0].shape == (64, 64, 3)
        own = next(iter(codec.decode(coded)))
        assert np.abs(frames[0].astype(int) - own).mean() > 1
        pasted = next(iter(codec.puppeteer(portrait, coded, paste_back=True)))
        assert pasted.shape == (512, 512, 3)

    def test_another_person_tuned(self, codec, coded, portrait, face_clip):
        """A copy of the generator is tuned to the portrait, not for points, which move the photograph."""
        seen, tuned = [], codec.encode_identity(portrait, adapt=24)
        plain = codec.encode_identity(portrait, adapt=0)
        target = torch.nn.functional.interpolate(plain.reference, codec.output_size, mode="area")
        errors = [(codec.generate(each, each.motion) - target).abs().mean() for each in (plain, tuned)]
        assert errors[1] < 0.9 * errors[0]
        frame = next(iter(codec.puppeteer(portrait, coded, adapt=24, on_progress=seen.append)))
        assert {progress.stage for progress in seen} == {"adapting"} and seen[-1].total == 24
        assert np.abs(frame.astype(int) - next(iter(codec.puppeteer(tuned, coded)))).max() <= 1
        points = codec.encode(face_clip, basis="points")
        assert codec.puppeteer(portrait, points, adapt=24).identity.generator is None

    def test_as_a_system(self, codec, portrait, face_clip):
        """Numbers are read off driving frames, so the base's own way works, too."""
        result = codec(portrait, face_clip)
        assert len(list(result)) == 21

    def test_channels(self, codec, face_clip):
        """They move when they are fitted, and are decoded by a pipeline whose own basis is the other one."""
        options = dict(basis="channels", identity_steps=0, max_frames=2)
        start, fitted = (codec.encode(face_clip, steps=steps, **options) for steps in (0, 2))
        assert not start.frames[:, 3:].any() and fitted.frames[:, 3:].any()
        assert len(list(codec.decode(fitted))) == 2

    def test_fitting_to_the_inversion(self, codec, face_clip):
        options = dict(basis="channels", identity_steps=0, max_frames=1, steps=1)
        videos = [codec.encode(face_clip, target=target, **options) for target in ("frames", "inversion")]
        assert not torch.equal(videos[0].frames, videos[1].frames)

    def test_crop_track(self, codec, face_clip):
        coded = codec.encode(face_clip, identity_steps=0, crop_track=True, max_frames=2)
        assert coded.crop.shape == (2, 4) and coded.bytes_per_frame == 78 and coded.clip_size == (192, 192)
        photo = np.zeros((192, 192, 3), np.uint8)
        pasted = codec.paste_into(photo, coded, 0, np.full((64, 64, 3), 200, np.uint8))
        x, y = (coded.crop[0, :2].float().numpy() * 192).astype(int)
        assert pasted[y, x].min() > 190

    def test_key_picture(self, face_clip, tmp_path):
        """It is the frame it was taken from, and moves with the decoded faces, at any size."""
        codec = ExpressiveCodecPipeline.from_pretrained()
        codec.set_progress_bar_config(disable=True)
        coded = codec.encode(face_clip, identity_steps=0, max_frames=4, key_picture=True)
        assert CodedVideo.load(coded.save(tmp_path / "a.vfc", sound=False)).key == coded.key
        plain, moved = list(codec.decode(coded, key_picture=False)), list(codec.decode(coded, size=256))
        assert plain[0].shape == (128, 128, 3) and moved[0].shape == (256, 256, 3)
        coded.frames[:, 2] = 0.0
        own = list(codec.decode(coded, size=256))[coded.key_frame].astype(int)
        picture = load_image(io.BytesIO(coded.key)).astype(int)
        plain = list(codec.decode(coded, key_picture=False, size=256))[coded.key_frame]
        assert picture.shape == (256, 256, 3)
        assert np.abs(own - picture).mean() < 0.4 * np.abs(plain - picture).mean()
        coded.frames[:, 0] += 12.0
        assert np.abs(next(iter(codec.decode(coded, size=256))).astype(int) - own).mean() > 3
        coded.key = None
        with pytest.raises(OptionError, match="has no key picture"):
            codec.decode(coded, key_picture=True)

    def test_frames_without_a_face_hold(self, codec, tmp_path):
        clip = write_face_clip(tmp_path / "gap.mp4", frames=8, hidden=range(3, 5))
        coded = codec.encode(clip, identity_steps=0)
        assert coded.missing == [3, 4]
        assert torch.equal(coded.frames[3], coded.frames[2]) and torch.equal(coded.frames[4], coded.frames[2])
        assert not torch.equal(coded.frames[5], coded.frames[2])


class TestStopping:
    def test_goes_on_where_it_was(self, codec, face_clip, tmp_path, monkeypatch):
        monkeypatch.setattr("vivface.reenactment.clip_encoding.LANES", 2)
        monkeypatch.setattr("vivface.reenactment.clip_encoding.LANE_LENGTH", 2)
        work, seen = tmp_path / ".talk.part", []
        options = dict(identity_steps=1, work=work, max_frames=9)

        def stop(progress):
            if progress.stage == "encoding" and progress.done >= 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            codec.encode(face_clip, on_progress=stop, **options)
        assert work.is_file()
        resumed = codec.encode(face_clip, on_progress=seen.append, **options)
        assert not work.exists()
        assert not [progress for progress in seen if progress.stage == "adapting"]
        assert min(progress.done for progress in seen if progress.stage == "encoding") >= 4
        straight = codec.encode(face_clip, identity_steps=1, max_frames=9)
        assert torch.equal(resumed.frames, straight.frames) and torch.equal(resumed.identity, straight.identity)


class TestRefused:
    def test_no_face(self, codec, tmp_path):
        clip = write_face_clip(tmp_path / "none.mp4", frames=3, hidden=range(3))
        with pytest.raises(NoFaceError, match="No face was found in 'none.mp4'"):
            codec.encode(clip)

    @pytest.mark.parametrize("options", [dict(steps=-1), dict(basis="wavelets"), dict(target="sky")])
    def test_options(self, codec, face_clip, options):
        with pytest.raises(OptionError, match="expected"):
            codec.encode(face_clip, **options)

    def test_another_checkpoint(self, coded):
        with pytest.raises(MediaError, match="another checkpoint"):
            make_tiny_codec(seed=1).decode(coded)

    def test_other_components(self, coded):
        other = make_tiny_codec()
        other.components_basis = make_components(seed=5)
        with pytest.raises(MediaError, match="other components"):
            other.decode(coded)

    def test_channels_cannot_be_read(self, portrait, face_clip):
        pipeline = make_tiny_codec(basis="channels")
        with pytest.raises(OptionError, match="fitted to the frames"):
            list(pipeline(portrait, face_clip))


class TestCheckpoints:
    def test_saved_and_loaded(self, codec, coded, tmp_path):
        codec.save_pretrained(tmp_path / "codec")
        again = load_pipeline(tmp_path / "codec")
        assert isinstance(again, ExpressiveCodecPipeline) and again.config.basis == "components"
        again.set_progress_bar_config(disable=True)
        whole, ours = list(again.decode(coded)), list(codec.decode(coded))
        assert np.abs(whole[5].astype(int) - ours[5]).max() <= 2  # components are stored in half precision

    def test_of_a_vivface_checkpoint(self, codec, tmp_path):
        make_tiny_pipeline().save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="codec/components.safetensors.*fit_components"):
            load_pipeline(tmp_path, system="codec").digest("components")
        codec.components_basis.save(tmp_path / COMPONENTS_FILE)
        pipeline = load_pipeline(tmp_path, system="codec")
        assert pipeline.config.basis == "components" and pipeline.components_basis is not None
        with pytest.raises(CheckpointError, match="channels.safetensors.*select_channels"):
            pipeline.basis("channels")

    def test_the_bundled_one(self):
        """Yaw that is asked for is yaw that is read again."""
        pipeline = load_pipeline(system="codec")
        assert pipeline.basis("channels").kind == "channels"
        numbers = torch.zeros(3, 34)
        numbers[:, 0] = torch.tensor([-20.0, 0.0, 20.0])
        w_plus = pipeline.generator.sample_latents(1, generator=torch.Generator().manual_seed(0))
        coder = PipelineCoder(pipeline, pipeline.basis("components"))
        pipeline._evaluate()
        with torch.no_grad():
            images = pipeline.show(w_plus, numbers[:, :2], numbers[:, 2:])
            read = coder.invert(images, w_plus, show=False, memory=coder.invert(images[1:2], show=False).memory)
        assert (read.numbers[:, 0] - numbers[:, 0]).abs().max() < 10

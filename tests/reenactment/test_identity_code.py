"""Identity codes: moved, weighed, saved and loaded."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.tiny import make_tiny_pipeline
from vivface import IdentityCode, MediaError


@pytest.fixture(scope="module")
def plain(tiny_pipeline, portrait):
    return tiny_pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def tuned(tiny_pipeline, portrait):
    return tiny_pipeline.encode_identity(portrait, adapt=14)  # 12 for the code, 2 for the generator


class TestFile:
    @pytest.mark.parametrize("kind", ["plain", "tuned"])
    def test_comes_back_as_it_was(self, kind, request, tmp_path):
        before = request.getfixturevalue(kind)
        after = IdentityCode.load(before.save(tmp_path / "identity.safetensors"))
        for item in fields(IdentityCode):
            mine, theirs = getattr(before, item.name), getattr(after, item.name)
            if item.name == "file":
                assert theirs is None  # where it was read from is nobody else's business
            elif item.name == "generator":
                assert (mine is None) == (theirs is None)
            elif item.name == "styles":
                assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
            elif isinstance(mine, torch.Tensor):
                assert torch.equal(mine, theirs)
            else:
                assert np.array_equal(mine, theirs)

    def test_a_tuned_one_gives_the_same_frames(self, tuned, tiny_pipeline, motion_file, tmp_path):
        again = IdentityCode.load(tuned.save(tmp_path / "identity.safetensors"))
        first, second = (next(iter(tiny_pipeline(code, motion_file))) for code in (tuned, again))
        assert np.array_equal(first, second)

    def test_another_checkpoint_refuses_it(self, plain, tmp_path):
        other = make_tiny_pipeline(seed=1)
        loaded = IdentityCode.load(plain.save(tmp_path / "identity.safetensors"))
        with pytest.raises(MediaError, match="identity code was made by the encoder of another checkpoint"):
            other(loaded, _motion_of(other))

    def test_what_is_no_identity_file(self, plain, motion_file, tmp_path):
        (tmp_path / "text.safetensors").write_text("hello")
        for path in (tmp_path / "text.safetensors", tmp_path / "nowhere.safetensors", motion_file):
            with pytest.raises(MediaError, match="identity file"):
                IdentityCode.load(path)

    @pytest.mark.parametrize("name", ["GeneratorOfEvil", "LatentDiscriminator", "os.system"])
    def test_only_generators_of_the_package_are_built(self, tuned, tmp_path, name):
        path = tuned.save(tmp_path / "identity.safetensors")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        metadata["generator"] = json.dumps({"class": name, "config": {}})
        save_file(load_file(path), path, metadata)
        with pytest.raises(MediaError, match="its generator is a"):
            IdentityCode.load(path)


def _motion_of(pipeline):
    from tests.motion import ListedMotion

    return ListedMotion(torch.zeros(2, *pipeline.code_shape), fingerprint=pipeline.fingerprint)


class TestTo:
    def test_another_precision(self, plain):
        half = plain.to(dtype=torch.bfloat16)
        assert half.w_plus.dtype == half.styles[0].dtype == half.memory.dtype == torch.bfloat16
        assert plain.w_plus.dtype == torch.float32 and half.photo is plain.photo

    def test_a_tuned_generator_goes_along_and_the_first_one_stays(self, tuned):
        moved = tuned.to("meta")
        assert next(moved.generator.parameters()).device.type == "meta"
        assert next(tuned.generator.parameters()).device.type == "cpu"

    def test_nothing_to_do(self, plain):
        assert plain.to("cpu", torch.float32) is plain

    def test_a_pipeline_in_half_precision_takes_a_code_in_single(self, plain, tiny_checkpoint, motion_file):
        from vivface import VivFacePipeline

        half = VivFacePipeline.from_pretrained(tiny_checkpoint, dtype=torch.bfloat16)
        assert next(iter(half(plain, motion_file))).shape == (64, 64, 3)


def test_bytes_count_image_and_generator(plain, tuned):
    assert plain.nbytes > plain.photo.nbytes
    weights = sum(p.numel() * 4 for p in tuned.generator.parameters())
    assert tuned.nbytes > plain.nbytes + weights

"""Shards with correspondence: what is read is what was drawn, small, and resumable."""

from pathlib import Path

import numpy as np
import pytest

from training.synthetic import render_motion
from training.synthetic.correspondence import SKIN
from training.synthetic.motion_shards import MotionShard, pack_surfaces, unpack_surfaces
from training.synthetic.person import sample_person
from training.synthetic.renderer import Renderer
from training.synthetic.scene import sample_scene
from training.synthetic.subject import Subject
from training.synthetic.surfaces import SurfaceRenderer
from vivface.errors import OptionError

SEED, FRAMES, SIZE = 950_100, 4, 128


@pytest.fixture(scope="module")
def folder(kit, opengl, assets_dir: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion")
    render_motion.main(
        ["--assets", str(assets_dir), "--cache", str(cache_dir), "--out", str(folder), "--group-size", "2"]
        + ["--frames", str(FRAMES), "--size", str(SIZE), "--seed", str(SEED), "--workers", "1"]
    )
    return folder


@pytest.fixture(scope="module")
def shard(folder: Path) -> MotionShard:
    return MotionShard.load(folder / "g00000_p01.npz")


class TestShards:
    def test_a_person_is_read_with_the_ground_truth(self, shard: MotionShard):
        controls, pose = render_motion.sample_wide_motions(SEED, FRAMES)
        np.testing.assert_array_equal(shard.controls, controls)
        np.testing.assert_array_equal(shard.pose, pose)
        assert (shard.seed, shard.group, shard.size, shard.frames) == (SEED + 1, 0, SIZE, FRAMES)
        assert shard.landmarks.shape == (FRAMES, 68, 2)

    def test_two_lights_show_the_same_person(self, shard: MotionShard):
        first, second = shard.image(1), shard.image(1, light=1)
        assert first.shape == (SIZE, SIZE, 3) and first.dtype == np.uint8
        assert np.abs(first.astype(int) - second).mean() > 5

    def test_people_of_a_group_perform_the_same_motions(self, folder: Path, shard: MotionShard):
        other = MotionShard.load(folder / "g00000_p00.npz")
        np.testing.assert_array_equal(shard.controls, other.controls)
        assert np.abs(shard.neutral_landmarks - other.neutral_landmarks).max() > 1

    def test_landmarks_move_as_the_flow_says(self, shard: MotionShard):
        for source, target in ((0, 1), (2, 3)):
            truth = shard.maps.correspondence(source, target, shard.landmarks[target][17:])
            error = np.linalg.norm(shard.landmarks[target][17:] + truth.flow - shard.landmarks[source][17:], axis=-1)
            assert np.median(error[truth.visible & (truth.parts == SKIN)]) < 0.3

    def test_it_is_small(self, folder: Path):
        assert all(path.stat().st_size < 120_000 * FRAMES for path in folder.iterdir())  # of 128 x 128 pixels

    def test_a_shard_of_another_kind_is_refused(self, tmp_path: Path):
        np.savez(tmp_path / "g00000_p00.npz", landmarks=np.zeros((1, 68, 2)))
        with pytest.raises(OptionError, match="holds no surface maps: render it with"):
            MotionShard.load(tmp_path / "g00000_p00.npz")

    def test_what_is_there_is_kept(self, folder: Path, assets_dir: Path, cache_dir: Path):
        path = folder / "g00000_p00.npz"
        before = path.stat().st_mtime_ns
        render_motion.main(
            ["--assets", str(assets_dir), "--cache", str(cache_dir), "--out", str(folder), "--group-size", "2"]
            + ["--frames", str(FRAMES), "--size", str(SIZE), "--seed", str(SEED), "--workers", "1"]
        )
        assert path.stat().st_mtime_ns == before

    def test_numbers_out_of_range_are_refused(self, tmp_path: Path):
        with pytest.raises(OptionError, match="--group-size is 0, expected 1 or more"):
            render_motion.main(["--out", str(tmp_path), "--group-size", "0"])


def test_packing_costs_a_fraction_of_a_pixel(kit, opengl):
    renderer = Renderer(kit, SIZE)
    person = sample_person(kit, SEED)
    subject = Subject(renderer, person, sample_scene(SEED, person.tone))
    maps = SurfaceRenderer(renderer).render(subject, *render_motion.sample_wide_motions(SEED, FRAMES))
    packed = unpack_surfaces(pack_surfaces(maps))
    for source, target in ((0, 1), (3, 2)):
        exact, stored = maps.correspondence(source, target), packed.correspondence(source, target)
        np.testing.assert_array_equal(exact.parts, stored.parts)
        assert np.abs(exact.flow - stored.flow).max() < 0.15
        assert (exact.visible != stored.visible).mean() < 0.01


class TestMotions:
    def test_expressions_use_their_whole_range(self):
        controls, pose = render_motion.sample_wide_motions(3, 400)
        names = render_motion.INDEX
        assert (controls[:, names["blink_left"]] > 0.9).mean() > 0.08
        assert (controls[:, names["brow_up_left"]] > 0.5).mean() > 0.2
        assert (controls[:, names["jaw_open"]] > 0.5).mean() > 0.1
        assert np.abs(pose[:, 0]).max() > 35
        assert controls.min() >= -1.2 and controls.max() <= 1.2

    def test_the_same_seed_gives_the_same_motions(self):
        for a, b in zip(render_motion.sample_wide_motions(4, 9), render_motion.sample_wide_motions(4, 9), strict=True):
            np.testing.assert_array_equal(a, b)

"""Geometry of crops, batches with their truth, sources of pictures, and preparing ahead."""

import itertools
import shutil
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from tests.training.people import write_people, write_person
from training.arguments import AugmentOptions, DataOptions
from training.data import (
    DrivingFrameBatches,
    FrameBatches,
    GridBatches,
    GroupShards,
    ImageBatches,
    ImageFolder,
    PairBatches,
    ShardClips,
    VideoFolder,
    adjust_quad,
    open_clips,
    region_maps,
    region_weights,
    stream,
    to_crop,
)
from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import ffhq_quad, make_quad
from vivface.media import VideoWriter

STILL = AugmentOptions(
    appearance=0.0,
    degradation=0.0,
    source_jitter=0.0,
    driver_center=0.0,
    driver_scale=0.0,
    driver_rotation=0.0,
    stretch=0.0,
)


def options_of(folder, **changes) -> DataOptions:
    return DataOptions(**{"folders": [str(folder)], "size": 64, "people": 3, "motions": 2, "batch": 5, **changes})


class TestGeometry:
    quad = make_quad(np.array([50.0, 40.0]), 20.0)

    def test_quad_moves_by_its_own_sides(self):
        moved = adjust_quad(self.quad, shift=(0.5, -0.25))
        assert np.allclose(moved - self.quad, [20.0, -10.0])

    def test_quad_scales_turns_and_stretches_about_its_centre(self):
        changed = adjust_quad(self.quad, scale=0.5, degrees=90.0, stretch=(2.0, 1.0))
        assert np.allclose(changed.mean(0), [50.0, 40.0])
        # 40 wide, 20 high, turned clockwise: its right now points down the picture
        assert np.allclose(changed[3] - changed[0], [0.0, 40.0])
        assert np.allclose(changed[1] - changed[0], [-20.0, 0.0])

    def test_corners_in_fractions_of_the_crop(self):
        turned = adjust_quad(self.quad, degrees=30.0)
        assert np.allclose(to_crop(turned, turned), [[0, 0], [0, 1], [1, 1], [1, 0]])
        assert np.allclose(to_crop(turned.mean(0), turned), [0.5, 0.5])

    def test_regions_lie_on_their_landmarks(self, people):
        shards = GroupShards([people])
        person = shards.people()[0]
        maps = region_maps(person.landmarks[0] / person.size, 64)
        assert maps.shape == (4, 64, 64) and maps.dtype == np.uint8
        spots = {1: slice(36, 42), 2: slice(17, 22), 3: slice(48, 68)}
        for index, part in spots.items():
            x, y = (person.landmarks[0][part].mean(0) / person.size * 64).astype(int)
            assert maps[index, y, x] > 60 and maps[0, y, x] > 60
            assert maps[index, 60, x] == 0
        assert maps[:, 0, 0].max() == 0

    def test_weights_add_up(self):
        regions = torch.zeros(4, 2, 2)
        regions[0, 0], regions[3, 0, 0] = 1.0, 0.5  # face in the first row, half a mouth in its corner
        weight = region_weights(regions, 1.0, face=2.0, mouth=4.0)
        assert weight.shape == (1, 2, 2)
        assert weight[0].tolist() == [[5.0, 3.0], [1.0, 1.0]]


class TestGridBatches:
    def test_shapes_and_ranges(self, people):
        batch = GridBatches(options_of(people, drivers=2))[0]
        shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
        assert shapes == {
            "source": (3, 3, 64, 64),
            "target": (3, 2, 3, 64, 64),
            "driver": (2, 2, 3, 64, 64),
            "regions": (3, 2, 4, 64, 64),
            "source_landmarks": (3, 68, 2),
            "target_landmarks": (3, 2, 68, 2),
            "driver_landmarks": (2, 2, 68, 2),
            "source_controls": (3, 2),
            "target_controls": (3, 2, 2),
            "driver_controls": (2, 2, 2),
            "source_pose": (3, 3),
            "target_pose": (3, 2, 3),
            "driver_pose": (2, 2, 3),
            "person": (3,),
            "driver_person": (2, 2),
            "motion": (2,),
            "source_motion": (),
        }
        for name in ("source", "target", "driver"):
            assert batch[name].dtype == torch.float32 and batch[name].abs().max() <= 1.0
        assert batch["source"].is_contiguous(memory_format=torch.channels_last)

    def test_item_depends_on_seed_and_index_only(self, people):
        options = options_of(people)
        first, again, other = (GridBatches(options, seed)[4] for seed in (1, 1, 2))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["driver"], other["driver"])

    def test_everybody_performs_the_same_motions(self, people):
        for index in range(4):
            batch = GridBatches(options_of(people))[index]
            assert (batch["target_controls"] == batch["driver_controls"][0]).all()
            assert (batch["target_pose"] == batch["driver_pose"][0]).all()
            assert len(batch["person"].unique()) == 3 and len(batch["motion"].unique()) == 2

    def test_target_of_the_sources_own_motion_is_the_source(self, people):
        """Without augmentation; so sources and targets share quad and appearance."""
        batches = GridBatches(options_of(people, motions=6, augment=STILL))
        batch = batches[0]
        own = batch["motion"].tolist().index(int(batch["source_motion"]))
        assert torch.equal(batch["target"][:, own], batch["source"])
        assert torch.allclose(batch["target_landmarks"][:, own], batch["source_landmarks"])
        augmented = GridBatches(options_of(people, motions=6, augment=AugmentOptions(degradation=0.0)))[0]
        own = augmented["motion"].tolist().index(int(augmented["source_motion"]))
        assert torch.equal(augmented["target"][:, own], augmented["source"])
        assert not torch.equal(augmented["source"], batch["source"])

    def test_centred_crops_follow_faces_off_by_what_a_motion_shares(self, people):
        options = options_of(people, crop="centred", drivers=2, augment=STILL)
        batch = GridBatches(options)[1]
        for name, axis in (("target", 0), ("driver", 0)):
            quads = np.stack(
                [[ffhq_quad(points) for points in row] for row in batch[f"{name}_landmarks"].numpy()]
            )  # (people, motions, 4, 2), in fractions of the crop
            shift, turn = quads.mean(2) - 0.5, np.apply_along_axis(np.ravel, 0, quads[:, :, 3] - quads[:, :, 0])
            angle = np.degrees(np.arctan2(turn[..., 1], turn[..., 0]))
            assert np.abs(shift).max() < 0.1 and np.abs(angle).max() <= 8.0  # twice the spreads, over the scale
            assert np.ptp(shift, axis=axis).max() < 1e-4 and np.ptp(angle, axis=axis).max() < 0.05
            assert np.abs(shift[:, 0] - shift[:, 1]).max() > 1e-3  # each motion its own

    def test_the_more_frames_are_drawn_the_more_frontal_a_source_is(self, people):
        one, many = (GridBatches(options_of(people, source_draws=draws))[3] for draws in (1, 200))  # 6 frames in all
        person = next(p for p in GroupShards([people]).people() if p.seed == many["person"][0])
        turned = np.abs(person.pose[:, :2]).sum(1)
        assert turned[many["source_motion"]] == turned.min() <= turned[one["source_motion"]]

    @pytest.mark.parametrize("kind", [GridBatches, DrivingFrameBatches])
    def test_unknown_crop(self, people, kind):
        with pytest.raises(OptionError, match="'centred'"):
            kind(options_of(people, crop="ffhq"))


class TestFrameBatches:
    @pytest.mark.parametrize("kind", [FrameBatches, DrivingFrameBatches])
    def test_shapes_and_ranges(self, people, kind):
        batch = kind(options_of(people))[0]
        shapes = {name: tuple(tensor.shape) for name, tensor in batch.items() if name not in ("regions", "points")}
        assert shapes == {
            "image": (3, 2, 3, 64, 64),
            "controls": (3, 2, 2),
            "pose": (3, 2, 3),
            "landmarks": (3, 2, 68, 2),
            "person": (3,),
        }
        assert batch["image"].abs().max() <= 1.0

    def test_driving_frames_move_and_fixed_ones_do_not(self, people):
        options = options_of(people, augment=AugmentOptions(driver_center=0.1, stretch=0.0))
        fixed = {name: FrameBatches(options)[0][name] for name in ("controls", "pose", "landmarks", "person")}
        moved = DrivingFrameBatches(options)[0]
        assert all(torch.equal(moved[name], fixed[name]) for name in fixed)  # the same frames, and the same truth
        assert (moved["points"] - moved["landmarks"]).abs().max() > 0.02
        again, other = DrivingFrameBatches(options)[0], DrivingFrameBatches(options, seed=5)[0]
        assert torch.equal(moved["image"], again["image"]) and not torch.equal(moved["image"], other["image"])

    def test_own_landmarks_lie_on_the_picture(self, people):
        plain = AugmentOptions(appearance=0.0, degrade_driver=0.0)
        batch = DrivingFrameBatches(options_of(people, augment=plain))[0]
        frame, points = batch["image"][0, 0], (batch["points"][0, 0] * 64).long().clamp(0, 63)
        lips = frame[:, points[48:60, 1], points[48:60, 0]].mean(1)
        skin = frame[:, points[30, 1], points[30, 0]]
        assert (lips - skin).abs().max() > 0.05


class TestShards:
    def test_new_people_are_found_and_unfinished_files_left(self, tmp_path):
        folder = write_people(tmp_path, groups=1, people=2)
        shards = GroupShards([folder], rescan_seconds=1e-9)
        assert len(shards.people()) == 2
        write_person(folder / "late.npz", 5, 77)
        (folder / "half.npz").write_bytes((folder / "late.npz").read_bytes()[:500])
        assert [person.seed for person in shards.people()] == [0, 1, 77]
        assert sorted(shards.groups()) == [(folder, 0), (folder, 5)]

    def test_groups_of_two_renderings_stay_apart(self, tmp_path):
        """Both count from 0, but what their people perform is not the same."""
        folders = [write_people(tmp_path / name, groups=1, people=2) for name in ("first", "second")]
        groups = GroupShards(folders).groups()
        assert len(groups) == 2
        assert all(len({person.path.parent for person in group}) == 1 for group in groups.values())

    def test_memory_for_pictures_is_bounded(self, people):
        shards = GroupShards([people], cache_gigabytes=1e-6)
        for person in shards.people():
            assert shards.image(person, 1).shape == (96, 96, 3)
        assert len(shards._pictures) == 1

    def test_refused(self, tmp_path):
        with pytest.raises(OptionError, match="no folder"):
            GroupShards([tmp_path / "nowhere"])
        with pytest.raises(OptionError, match="no synthetic people"):
            GroupShards([tmp_path])


@pytest.fixture
def pictures(tmp_path):
    """Three folders of four grey pictures: level 40, 120 and 200, a little lighter from frame to frame."""
    for level, name in ((40, "a"), (120, "b"), (200, "c")):
        (tmp_path / name).mkdir()
        for k in range(4):
            cv2.imwrite(str(tmp_path / name / f"{k}.png"), np.full((40, 60, 3), level + 3 * k, np.uint8))
    return tmp_path


class TestPairs:
    def test_same_is_of_the_sources_clip_and_other_of_another(self, pictures):
        batches = PairBatches(VideoFolder([pictures], 4, 32), options_of(pictures, augment=STILL, size=32))
        for index in range(3):
            batch = batches[index]
            assert batch["source"].shape == (5, 3, 32, 32)
            levels = {name: images.mean(dim=(1, 2, 3)) for name, images in batch.items()}
            assert ((levels["source"] - levels["same"]).abs() < 0.1).all()
            assert ((levels["source"] - levels["same"]).abs() > 0.01).all()  # another frame
            assert ((levels["source"] - levels["other"]).abs() > 0.4).all()

    def test_stable_crops_use_the_sources_quad(self, people):
        clips = ShardClips(GroupShards([people]))
        anchored = clips.crop(0, 3, 64, anchor=0)
        assert not np.array_equal(anchored, clips.crop(0, 3, 64))
        assert np.array_equal(clips.crop(0, 0, 64, anchor=0), clips.crop(0, 0, 64))

    def test_refused(self, people, tmp_path):
        write_person(tmp_path / "one.npz", 0, 1)
        with pytest.raises(OptionError, match="single person"):
            PairBatches(open_clips(options_of(tmp_path)), options_of(tmp_path))
        with pytest.raises(OptionError, match="data.crop is 'round'"):
            PairBatches(open_clips(options_of(people)), options_of(people, crop="round"))
        with pytest.raises(OptionError, match="data.kind"):
            open_clips(options_of(people, kind="books"))


class TestImages:
    def test_labels_are_folders(self, pictures):
        batch = ImageBatches(ImageFolder([pictures]), options_of(pictures, augment=STILL, size=16, batch=24))[0]
        assert set(batch["label"].tolist()) == {0, 1, 2}
        levels = (batch["image"].mean(dim=(1, 2, 3)) + 1) * 127.5
        expected = torch.tensor([40.0, 120.0, 200.0])[batch["label"]]
        assert ((levels - expected) > -1).all() and ((levels - expected) < 10).all()

    def test_people_are_labelled_by_identity(self, people):
        clips = ShardClips(GroupShards([people]))
        assert clips.classes == 6 and len(clips.labels) == 6

    def test_unreadable_picture(self, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"no picture")
        with pytest.raises(MediaError, match=r"broken\.png"):
            ImageFolder([tmp_path]).crop(0, 0, 16)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(OptionError, match="no pictures"):
            ImageFolder([tmp_path])
        with pytest.raises(OptionError, match="no videos"):
            VideoFolder([tmp_path], 4, 32)


class TestVideos:
    def test_frames_are_kept_evenly_spaced(self, tmp_path):
        with VideoWriter(tmp_path / "clip.mp4", (48, 32), Fraction(25)) as writer:
            for k in range(12):
                writer.write(np.full((32, 48, 3), 20 * k, np.uint8), Fraction(k, 25))
        clips = VideoFolder([tmp_path], 4, 32)
        assert clips.length(0) == 4
        levels = [clips.crop(0, k, 32).mean() for k in range(4)]
        assert np.allclose(levels, [0, 60, 120, 180], atol=8)
        assert len(list((tmp_path / ".frames-32" / "clip").iterdir())) == 4
        assert len(VideoFolder([tmp_path], 4, 32).clips) == 1  # kept frames are no clip of their own

    def test_too_short(self, tmp_path):
        with VideoWriter(tmp_path / "clip.mp4", (48, 32), Fraction(25)) as writer:
            writer.write(np.zeros((32, 48, 3), np.uint8), Fraction(0))
        with pytest.raises(MediaError, match="expected at least 2"):
            VideoFolder([tmp_path], 4, 32).length(0)


class Numbers:
    """A data set of its own indices."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"index": torch.tensor(index)}


class TestStream:
    @pytest.mark.parametrize(
        ("workers", "kind"), [(0, "thread"), (1, "thread"), (3, "thread"), (1, "process"), (2, "process")]
    )
    def test_order(self, workers, kind):
        batches = stream(Numbers(), DataOptions(workers=workers, worker_kind=kind, prefetch=3), start=5, stride=2)
        assert [int(batch["index"]) for batch in itertools.islice(batches, 4)] == [5, 7, 9, 11]
        batches.close()

    def test_unknown_kind(self):
        with pytest.raises(OptionError, match="worker_kind"):
            next(stream(Numbers(), DataOptions(worker_kind="fibre")))

    def test_people_in_processes(self, people, tmp_path):
        folder = shutil.copytree(people, tmp_path / "people")
        options = options_of(folder, workers=2, worker_kind="process")
        batches = stream(GridBatches(options), options)
        first = next(batches)
        batches.close()
        assert torch.equal(first["target"], GridBatches(options)[0]["target"])

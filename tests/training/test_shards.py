"""Shards of synthetic people: found while they are rendered, kept in bounded memory, skipped when damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.people import options_of, write_people, write_person
from training.arguments import DataOptions
from training.data import DrivingFrameBatches, FrameBatches, GridBatches, GroupShards
from vivface.errors import MediaError, OptionError


def break_images(path: Path) -> Path:
    """Overwrite the images of a shard; its labels stay readable."""
    with np.load(path) as shard:
        fields = dict(shard)
    np.savez(path, **{**fields, "jpeg_bytes": np.zeros_like(fields["jpeg_bytes"])})
    return path


class TestShards:
    def test_new_people_are_found_and_unfinished_files_left(self, tmp_path):
        folder = write_people(tmp_path, groups=1, people=2)
        shards = GroupShards([folder], rescan_seconds=1e-9)
        assert len(shards.records()) == 2
        write_person(folder / "late.npz", 5, 77)
        (folder / "half.npz").write_bytes((folder / "late.npz").read_bytes()[:500])
        assert [person.seed for person in shards.records()] == [0, 1, 77]
        assert sorted(shards.groups()) == [(folder, 0), (folder, 5)]

    def test_groups_of_two_renderings_stay_apart(self, tmp_path):
        """Both count from 0, but what their people perform is not the same."""
        folders = [write_people(tmp_path / name, groups=1, people=2) for name in ("first", "second")]
        groups = GroupShards(folders).groups()
        assert len(groups) == 2
        assert all(len({person.path.parent for person in group}) == 1 for group in groups.values())

    def test_memory_for_images_is_bounded(self, people):
        shards = GroupShards([people], cache_gigabytes=1e-6)
        for person in shards.records():
            assert shards.image(person, 1).shape == (96, 96, 3)
        largest = max(path.stat().st_size for path in people.iterdir())
        assert 0 < shards.cached_bytes < largest

    def test_refused(self, tmp_path):
        with pytest.raises(OptionError, match="no folder"):
            GroupShards([tmp_path / "nowhere"])
        with pytest.raises(OptionError, match="no synthetic people"):
            GroupShards([tmp_path])

    def test_without_rescanning_the_list_stays_as_it_was(self, tmp_path):
        """Items depend on the seed, the index and the files at the start."""
        folder = write_people(tmp_path, groups=1, people=2)
        shards = GroupShards([folder])
        write_person(folder / "late.npz", 5, 77)
        assert [record.seed for record in shards.records()] == [0, 1]
        assert DataOptions().rescan_seconds == 0

    def test_other_controls_are_refused(self, tmp_path):
        folder = write_people(tmp_path, groups=1, people=1)
        with np.load(folder / "person-000000.npz") as shard:
            fields = dict(shard)
        np.savez(folder / "person-000001.npz", **{**fields, "control_names": np.array(["jaw_open", "wink"])})
        with pytest.raises(OptionError, match="other controls"):
            GroupShards([folder])

    @pytest.mark.parametrize("kind", [GridBatches, FrameBatches, DrivingFrameBatches])
    def test_a_damaged_shard_is_skipped_with_a_warning(self, kind, tmp_path):
        """One of six; the item is the same whenever it is made, and only when nothing is left is it an error."""
        folder = write_people(tmp_path / "people")
        broken = break_images(folder / "person-000001.npz")
        with pytest.warns(UserWarning, match=f"skipped: .*{broken.name}"):
            batches = kind(options_of(folder, size=32))
            items = [batches[k] for k in range(12)]
        assert all((item["identity_seed"] != 1).all() for item in items)
        with pytest.warns(UserWarning):
            again = kind(options_of(folder, size=32))
            for k in (7, 11, 3):
                assert all(torch.equal(again[k][name], items[k][name]) for name in items[k])

    def test_nothing_but_damaged_shards(self, tmp_path):
        folder = write_people(tmp_path / "people", groups=1, people=2)
        for path in folder.iterdir():
            break_images(path)
        with pytest.warns(UserWarning), pytest.raises(MediaError, match="nothing that can be read"):
            GridBatches(options_of(folder, size=32))[0]

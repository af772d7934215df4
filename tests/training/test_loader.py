"""Preparing batches ahead."""

import itertools
import shutil

import pytest
import torch

from tests.training.people import options_of
from training.arguments import DataOptions
from training.data import GridBatches, stream


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

    def test_people_in_processes(self, people, tmp_path):
        folder = shutil.copytree(people, tmp_path / "people")
        options = options_of(folder, workers=2, worker_kind="process")
        batches = stream(GridBatches(options), options)
        first = next(batches)
        batches.close()
        assert torch.equal(first["target"], GridBatches(options)[0]["target"])

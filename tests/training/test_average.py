"""Means of checkpoints."""

from pathlib import Path

import pytest
import torch

from tests.tiny import make_tiny_pipeline
from training.tools.average import average, main, read_shares
from vivface.errors import CheckpointError, OptionError
from vivface.models import StyleGAN2Generator

NAMES = ("generator", "encoder")


def write_checkpoint(folder: Path, seed: int) -> dict:
    """Random networks of one size, saved; returns their weights."""
    torch.manual_seed(seed)
    pipeline = make_tiny_pipeline()
    states = {}
    for name in NAMES:
        network = getattr(pipeline, name)
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
        network.save_pretrained(folder / name)
        states[name] = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    return states


def test_weights_are_means(tmp_path: Path):
    a, b = (write_checkpoint(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2)))
    main([str(tmp_path / "a"), str(tmp_path / "b"), "--shares", "1", "3", "--output", str(tmp_path / "mean")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "mean"]
    network = StyleGAN2Generator.from_pretrained(tmp_path / "mean" / "generator")
    for key, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, 0.25 * a["generator"][key] + 0.75 * b["generator"][key])
    assert sorted(path.name for path in (tmp_path / "mean").iterdir()) == sorted(NAMES)


def test_counters_are_the_last_ones():
    first, last = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    last.num_batches_tracked.fill_(7)
    last.running_mean.fill_(1.0)
    mean = average([first, last], [0.5, 0.5])
    assert mean.num_batches_tracked == 7
    torch.testing.assert_close(mean.running_mean, torch.full((2,), 0.5))


def test_networks_of_different_size_are_refused():
    with pytest.raises(CheckpointError, match="Linears differ in size"):
        average([torch.nn.Linear(2, 2), torch.nn.Linear(2, 3)], [0.5, 0.5])


@pytest.mark.parametrize(("shares", "count"), [(None, 1), ([1.0], 2), ([1.0, 0.0], 2)])
def test_wrong_shares_are_refused(shares: list[float] | None, count: int):
    with pytest.raises(OptionError, match="expected"):
        read_shares(shares, count)


def test_folders_with_nothing_in_common_and_places_taken_are_refused(tmp_path: Path):
    write_checkpoint(tmp_path / "a", 1)
    (tmp_path / "b").mkdir()
    with pytest.raises(CheckpointError, match="no network in common"):
        main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "mean")])
    with pytest.raises(OptionError, match="already exists"):
        main([str(tmp_path / "a"), str(tmp_path / "a"), "--output", str(tmp_path / "b")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

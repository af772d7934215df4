"""Files of tensors: what is written is read, and every other file is refused in one sentence."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vivface.errors import CheckpointError, MediaError
from vivface.tensor_files import TensorFile

FILE = TensorFile("vivface-numbers-1", "numbers")


def decode(tensors: dict, metadata: dict) -> tuple[torch.Tensor, int]:
    if tensors["numbers"].ndim != 1:
        raise ValueError("its numbers are no list")
    return tensors["numbers"], int(metadata["unit"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "numbers.safetensors"


def test_written_and_read(path):
    numbers = torch.arange(6.0, requires_grad=True)[::2]
    assert FILE.save(path, {"numbers": numbers}, {"unit": "3"}) == path
    found, unit = FILE.load(path, decode)
    assert found.tolist() == [0, 2, 4] and unit == 3
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "vivface-numbers-1", "unit": "3"}


@pytest.mark.parametrize(
    ("tensors", "metadata", "reason"),
    [
        ({"numbers": torch.ones(2)}, {"format": "vivface-pose-1", "unit": "1"}, "it holds something else"),
        ({"numbers": torch.ones(2)}, None, "it holds something else"),
        ({"numbers": torch.ones(2, 2)}, {"unit": "1"}, "its numbers are no list"),
        ({"numbers": torch.tensor([0, torch.inf])}, {"unit": "1"}, "it holds numbers that are not finite"),
        ({"figures": torch.ones(2)}, {"unit": "1"}, "it lacks 'numbers'"),
        ({"numbers": torch.ones(2)}, {}, "it lacks 'unit'"),
        ({"numbers": torch.ones(2)}, {"unit": "metre"}, "invalid literal"),
    ],
)
def test_other_content_is_refused(path, tensors, metadata, reason):
    save_file(tensors, path, metadata if metadata is None else {"format": FILE.format, **metadata})
    with pytest.raises(CheckpointError) as caught:
        FILE.load(path, decode)
    message = str(caught.value)
    assert message.startswith(f"'{path}' cannot be read as numbers ({reason}") and message.endswith(
        "copy the file again."
    )


def test_damaged_and_missing_files_are_refused(path):
    with pytest.raises(CheckpointError, match="There is no '.*', expected numbers: copy the file again."):
        FILE.load(path, decode)
    FILE.save(path, {"numbers": torch.ones(8)}, {"unit": "1"})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="cannot be read as numbers"):
        FILE.load(path, decode)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(MediaError, match="has to end in .safetensors"):
        FILE.save(tmp_path / "numbers.bin", {"numbers": torch.ones(1)})
    with pytest.raises(MediaError, match="does not exist"):
        FILE.save(tmp_path / "nowhere" / "numbers.safetensors", {"numbers": torch.ones(1)})
    assert not list(tmp_path.iterdir())


def test_errors_and_endings_are_the_kinds_own(tmp_path):
    film = TensorFile("vivface-film-1", "a film", "film it again", MediaError, ".film")
    path = film.save(tmp_path / "a.film", {"frames": torch.ones(1)})
    with pytest.raises(MediaError, match="cannot be read as a film .it lacks .numbers..: film it again"):
        film.load(path, decode)

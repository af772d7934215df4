"""Text embeddings by name, from a CLIP of the published architecture with random weights."""

import json

import pytest
import torch

from training.disturbances import read_texts
from training.tools.embed_texts import main, read_lines
from vivface.errors import BackendError, OptionError


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny text encoder and a vocabulary of letters."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(k) for k in range(97, 123)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    config = transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, projection_dim=8, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32, bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def test_texts_by_name(clip, tmp_path):
    (tmp_path / "styles.txt").write_text("bob cut\n\nafro\nbob cut\n")
    main([str(tmp_path / "styles.txt"), str(tmp_path / "styles.safetensors"), "--clip", str(clip)])
    texts = read_texts(str(tmp_path / "styles.safetensors"), "texts")
    assert list(texts) == ["afro", "bob cut"] and all(text.shape == (8,) for text in texts.values())
    assert (texts["afro"] - texts["bob cut"]).abs().max() > 1e-4
    (tmp_path / "one.txt").write_text("afro hairstyle")
    main([str(tmp_path / "one.txt"), str(tmp_path / "one.safetensors"), "--clip", str(clip), "--suffix", ""])
    (alone,) = read_texts(str(tmp_path / "one.safetensors"), "texts").values()
    torch.testing.assert_close(alone, texts["afro"])  # the other texts of a batch change nothing


def test_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(OptionError, match="no texts"):
        read_lines(tmp_path / "empty.txt")
    with pytest.raises(OptionError, match="cannot be read"):
        read_lines(tmp_path / "none.txt")
    (tmp_path / "one.txt").write_text("afro")
    with pytest.raises(BackendError, match="is not available"):
        main([str(tmp_path / "one.txt"), str(tmp_path / "o.safetensors"), "--clip", str(tmp_path / "no-clip")])

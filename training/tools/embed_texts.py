"""Store CLIP's embeddings of texts by name, for hair edits: `python -m training.tools.embed_texts TEXTS OUT`.

TEXTS has one description a line, such as "bob cut"; OUT is a safetensors file that `options.disturbances.NAME.texts` of
stage II reads. HairCLIP's mapper knows CLIP ViT-B/32 and descriptions that end with " hairstyle".
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from training.tools.programs import program_parser, run_program
from vivface.errors import BackendError, OptionError, first_line
from vivface.files import check_output, complete_file


def main(arguments: list[str] | None = None) -> None:
    """Read, embed, write.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are no texts.
        MediaError: If the file cannot be written.
        BackendError: If transformers or CLIP's weights are not available.
    """
    options = parse_arguments(arguments)
    check_output(options.output, (".safetensors",))
    texts = read_lines(options.texts)
    embeddings = embed([text + options.suffix for text in texts], options.clip)
    named = {text: embedding.clone() for text, embedding in zip(texts, embeddings, strict=True)}
    with complete_file(options.output) as temporary:
        save_file(named, temporary, metadata={"clip": options.clip, "suffix": options.suffix})
    print(f"{options.output}: {len(texts)} texts, {embeddings.shape[1]} numbers each")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("embed_texts", __doc__)
    parser.add_argument("texts", type=Path, help="text file, one description a line")
    parser.add_argument("output", type=Path, help="safetensors file to write")
    parser.add_argument("--clip", default="openai/clip-vit-base-patch32", help="folder or Hub id of a CLIP model")
    parser.add_argument("--suffix", default=" hairstyle", help="added to every description")
    return parser.parse_args(arguments)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, each once.

    Raises:
        OptionError: If it cannot be read or has none.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} cannot be read ({error}): give a text file in UTF-8") from error
    texts = list(dict.fromkeys(line for line in lines if line))
    if not texts:
        raise OptionError(f"{path} has no texts, expected one a line")
    return texts


@torch.no_grad()
def embed(texts: list[str], clip: str) -> Tensor:
    """CLIP's embeddings, as its text encoder projects them, not normalised.

    Args:
        texts (`list[str]`): In English.
        clip (`str`): Folder or Hub id.

    Returns:
        `torch.Tensor` of shape `(texts, dim)`: float32.

    Raises:
        BackendError: If transformers or the weights are not available.
    """
    try:
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(clip)
        model = CLIPTextModelWithProjection.from_pretrained(clip, use_safetensors=True).eval()
    except (ImportError, OSError, ValueError) as error:
        raise BackendError(
            f"CLIP {clip!r} is not available ({first_line(error)}): pip install transformers, and go online once or "
            "give a folder"
        ) from error
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return model(**tokens).text_embeds.float()


if __name__ == "__main__":
    run_program(main)

"""The hair mapper of wty-ustc/HairCLIP (`hairclip.pt`), which edits identity codes of a 1024 generator by text."""

from pathlib import Path

from vivface.convert.conversion import Conversion, ConvertedModel, fill, without_values
from vivface.convert.keymap import KeyMap, parameter_names
from vivface.convert.reading import read
from vivface.errors import CheckpointError
from vivface.models.hair_mapper import HairMapper

WHAT = "a HairCLIP checkpoint"
GROUPS = {"course_mapping": "coarse", "medium_mapping": "medium", "fine_mapping": "fine"}
BESIDE = ("decoder.", "mapper.clip_model.", "face_pool.")  # the generator, CLIP


def convert(file: Path) -> Conversion:
    """Read the mapper. The generator and CLIP, which the file holds as well, are left out.

    Args:
        file (`Path`): The authors' file, with the networks under `state_dict`.

    Raises:
        CheckpointError: If the file is anything else, or an entry does not fit.
    """
    source = read(file)
    entries = source.network(WHAT, ("state_dict",), beside=("latent_avg",))
    mapper = {
        name.removeprefix("mapper."): tensor
        for name, tensor in entries.items()
        if name.startswith("mapper.") and not name.startswith(BESIDE)
    }
    if not mapper:
        raise CheckpointError(f"'{file}' holds no entries 'mapper.*', expected {WHAT}: check which file it is.")
    converted = ConvertedModel(without_values(HairMapper))
    fill(converted, mapper_keys(), mapper)
    source.ignored |= {"decoder, mapper.clip_model": "StyleGAN2's generator and CLIP, which have files of their own"}
    notes = ["Texts come from CLIP ViT-B/32: python -m training.tools.embed_texts stores their embeddings by name."]
    return Conversion("hairclip", [source], {"": converted}, notes=notes)


def mapper_keys(depth: int = 5) -> KeyMap:
    """Entries of the mapper."""
    names = {}
    for official, ours in GROUPS.items():
        for k in range(depth):
            theirs = f"{official}.modulation_module_list.{k}"
            names |= parameter_names(f"{theirs}.fc", f"{ours}.{k}.linear")
            for function, part in (("gamma_function", "scale"), ("beta_function", "shift")):
                for entry in (0, 1, 3):
                    names |= parameter_names(f"{theirs}.{function}.{entry}", f"{ours}.{k}.{part}.{entry}")
    return KeyMap(names)

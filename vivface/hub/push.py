"""Checkpoints on the Hugging Face Hub: push a folder, in a layout that every loader reads.

`VivFacePipeline.from_pretrained(id)` loads part by part and needs nothing special. For the generic route,
`DiffusionPipeline.from_pretrained(id, trust_remote_code=True)`, a repository also holds small Python files that
only import the package's classes, and `model_index.json` names those files:

    model_index.json                 "_class_name": ["pipeline_vivface", "VivFacePipeline"]
    pipeline_vivface.py              from vivface.pipelines.vivface import VivFacePipeline
    generator/modeling_stylegan2.py  from vivface.models.stylegan2 import StyleGAN2Generator
    generator/config.json, generator/diffusion_pytorch_model.safetensors, ...
"""

import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from vivface.errors import BackendError, CheckpointError
from vivface.hub.card import make_card, read_parts

INDEX = "model_index.json"
CARD = "README.md"
# What belongs to a checkpoint; pickles and whatever else lies in the folder stays here
PATTERNS = ("*.json", "*.safetensors", "*.md", "*.png", "*.jpg", "*.webp", "*.mp4", "LICENSE*", "NOTICE*")
PIPELINE_FILE = '''"""Loads vivface's pipeline by the generic route; needs `pip install vivface`."""

from vivface.pipelines.{module} import {name}

__all__ = ["{name}"]
'''
PART_FILE = '''"""Loads a network of vivface by the generic route; needs `pip install vivface`."""

from diffusers import ModelMixin  # by this base class the generic loader recognises a network

from vivface.models.{module} import {name}

__all__ = ["ModelMixin", "{name}"]
'''


@dataclass(frozen=True)
class Pushed:
    """What a push made.

    Args:
        repo_id (`str`): The repository.
        url (`str`): Where to look at the commit or the pull request.
        files (`list[str]`): What was uploaded.
        left (`list[str]`): Files of the folder that were not, as they belong to no checkpoint.
    """

    repo_id: str
    url: str
    files: list[str]
    left: list[str]


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> Pushed:
    """Upload a checkpoint's folder, with a card and the files for generic loaders. The folder is not changed.

    Args:
        folder (`Path`): As `save_pretrained` or `vivface convert` wrote it.
        repo_id (`str`): "owner/name", or a name of one's own; created if it is not there.
        private (`bool`, *optional*): Whether a new repository is private; by default as its owner has set.
        create_pr (`bool`, *optional*, defaults to `False`): Open a pull request instead of committing.
        revision (`str`, *optional*): Branch to commit to; "main" by default.
        message (`str`, *optional*): Of the commit.
        token (`str`, *optional*): By default the one of `hf auth login`.

    Raises:
        CheckpointError: If the folder holds no complete checkpoint.
        BackendError: If the Hub cannot be reached or refuses.
    """
    folder = Path(folder)
    generated = generic_files(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not _hidden(file, folder))
    kept = [file for file in files if any(file.match(pattern) for pattern in PATTERNS)]
    paths = {file.relative_to(folder).as_posix(): file for file in kept}
    generated[CARD] = card_text(folder, repo_id)
    content: dict[str, Path | bytes] = paths | {name: text.encode() for name, text in generated.items()}
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in content.items()]
    left = [file.relative_to(folder).as_posix() for file in files if file not in kept]
    left = [name for name in left if name not in generated]

    api = HfApi(token=token)
    message = message or f"Upload {folder.resolve().name}"
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = api.create_commit(repo_id, operations, commit_message=message, create_pr=create_pr, revision=revision)
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".: ")
        raise BackendError(f"'{repo_id}' cannot be pushed ({reason}): check the name and `hf auth login`.") from error
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore")):  # the client's own errors of the connection
            raise
        raise BackendError(f"'{repo_id}' cannot be pushed, as the Hub cannot be reached ({error}).") from error
    return Pushed(repo_id, commit.pr_url or commit.commit_url, sorted(content), left)


def generic_files(folder: Path) -> dict[str, str]:
    """Files that a pushed pipeline has beside, or instead of, those of its folder: name -> text.

    Empty for a folder of single networks, which every loader reads as they are.

    Raises:
        CheckpointError: If the folder holds no complete checkpoint.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder '{folder}': give one that `save_pretrained` wrote.")
    if not (folder / INDEX).is_file():
        _check_weights(folder, [part["name"] for part in read_parts(folder, None)])
        return {}
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        parts = {key: value for key, value in index.items() if isinstance(value, list) and not key.startswith("_")}
        parts = {key: (str(module), str(name)) for key, (module, name) in parts.items() if name is not None}
        class_name = index["_class_name"]
        pipeline = class_name if isinstance(class_name, str) else class_name[-1]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{INDEX} of the checkpoint '{folder}' is damaged ({error}): copy it anew.") from error
    if pipeline != "VivFacePipeline":
        raise CheckpointError(f"The checkpoint '{folder}' is a {pipeline}; expected a VivFacePipeline.")
    _check_weights(folder, list(parts))

    module = "vivface"
    index["_class_name"] = [f"pipeline_{module}", pipeline]
    files = {f"pipeline_{module}.py": PIPELINE_FILE.format(module=module, name=pipeline)}
    for key, (path, name) in parts.items():
        module = path.rsplit(".", 1)[-1].removeprefix("modeling_")  # a folder may come from the Hub itself
        index[key] = [f"modeling_{module}", name]
        files[f"{key}/modeling_{module}.py"] = PART_FILE.format(module=module, name=name)
    files[INDEX] = json.dumps(index, indent=2) + "\n"
    return files


def card_text(folder: Path, repo_id: str) -> str:
    """The card to upload: the folder's own if somebody has edited it, else one with the repository's name."""
    card = folder / CARD
    if card.is_file():
        text = card.read_text(encoding="utf-8")
        titles = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
        generic = "library_name: diffusers" in text and "vivface" not in text  # the one that diffusers writes
        if not generic and not (titles and text.strip() == str(make_card(folder, titles[0])).strip()):
            return text
    return str(make_card(folder, repo_id))


def _check_weights(folder: Path, parts: list[str]) -> None:
    for part in parts:
        missing = [] if (folder / part / "config.json").is_file() else ["config.json"]
        missing += [] if any((folder / part).glob("*.safetensors")) else ["*.safetensors"]
        if missing:
            where = f"The part '{part}' of the checkpoint" if part else "The checkpoint"
            raise CheckpointError(f"{where} '{folder}' is incomplete: {' and '.join(missing)} is missing.")


def _hidden(file: Path, folder: Path) -> bool:
    return any(name.startswith((".", "__pycache__")) for name in file.relative_to(folder).parts)

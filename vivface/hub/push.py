"""Push a checkpoint's folder to the Hugging Face Hub, with a model card and in a layout that every loader reads."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from vivface.errors import BackendError, first_line
from vivface.hub.card import PLACES, make_card
from vivface.hub.layout import INDEX, generic_files
from vivface.hub.modular import modular_files
from vivface.hub.registry import MAIN

CARD = "README.md"
MODULAR_CARD = """---
library_name: diffusers
tags: [modular-diffusers, vivface]
base_model: {weights}
---

# {repo}

Modular blocks of [{weights}](https://huggingface.co/{weights}): a portrait re-enacted by a video. Weights, their
licence and what they are not for are told there. Needs `pip install vivface`.

```bash
diffusers-cli run --model {repo} --trust-remote-code --output-key videos \\
    --pipeline-kwargs '{{"image": "portrait.png", "video": "clip.mp4"}}'
```
"""
# What belongs to a checkpoint; pickles and whatever else is in the folder stay here
PATTERNS = ("*.json", "*.safetensors", "*.md", "*.png", "*.jpg", "*.webp", "*.mp4", "LICENSE*", "NOTICE*")


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
    if INDEX in generated and json.loads(generated[INDEX])["_class_name"][-1] == MAIN:
        generated |= modular_files(folder, repo_id)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not _hidden(file, folder))
    kept = [file for file in files if any(file.match(pattern) for pattern in PATTERNS)]
    paths = {file.relative_to(folder).as_posix(): file for file in kept}
    generated[CARD] = card_text(folder, repo_id)
    content: dict[str, Path | bytes] = paths | {name: text.encode() for name, text in generated.items()}
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in content.items()]
    left = [file.relative_to(folder).as_posix() for file in files if file not in kept]
    left = [name for name in left if name not in generated]

    message = message or f"Upload {folder.resolve().name}"
    repo_id, url = _commit(operations, repo_id, private, create_pr, revision, message, token)
    return Pushed(repo_id, url, sorted(content), left)


def push_modular(
    folder: Path, repo_id: str, weights: str, *, private: bool | None = None, token: str | None = None
) -> Pushed:
    """Upload what `diffusers-cli run` needs of a checkpoint to a repository of its own.

    Args:
        folder (`Path`): The checkpoint, of the main system.
        repo_id (`str`): "owner/name"; created if it is not there.
        weights (`str`): The repository to which `push_folder` uploaded the checkpoint.
        private (`bool`, *optional*), token (`str`, *optional*): As for `push_folder`.

    Raises:
        CheckpointError: If the folder holds no checkpoint of the main system.
        BackendError: If the Hub cannot be reached or refuses.
    """
    files = modular_files(Path(folder), weights)
    files[CARD] = MODULAR_CARD.format(weights=weights, repo=repo_id)
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=text.encode()) for name, text in files.items()]
    repo_id, url = _commit(operations, repo_id, private, False, None, f"Modular blocks of {weights}", token)
    return Pushed(repo_id, url, sorted(files), [])


def _commit(
    operations: list[CommitOperationAdd],
    repo_id: str,
    private: bool | None,
    create_pr: bool,
    revision: str | None,
    message: str,
    token: str | None,
) -> tuple[str, str]:
    """Commit files to a repository: its name and where to look at them."""
    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = api.create_commit(repo_id, operations, commit_message=message, create_pr=create_pr, revision=revision)
    except (HfHubHTTPError, ValueError) as error:
        raise BackendError(
            f"'{repo_id}' cannot be pushed ({first_line(error)}): check the name and `hf auth login`."
        ) from error
    except (OSError, *connection_errors()) as error:
        raise BackendError(
            f"'{repo_id}' cannot be pushed, as the Hub cannot be reached ({first_line(error)}): check the connection."
        ) from error
    return repo_id, commit.pr_url or commit.commit_url


def connection_errors() -> tuple[type[Exception], ...]:
    """Base classes of what huggingface_hub's HTTP client raises when there is no connection.

    Which client that is depends on the version of huggingface_hub: requests (its errors are `OSError`s), httpx, httpx2.
    """
    found = []
    for name in ("httpx", "httpx2"):
        if (module := sys.modules.get(name)) is not None:
            found.append(module.HTTPError)
    return tuple(found)


def card_text(folder: Path, repo_id: str) -> str:
    """The card to upload: the folder's own if somebody has edited it, else one with the repository's name."""
    card = folder / CARD
    if card.is_file():
        text = card.read_text(encoding="utf-8")
        titles = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
        generic = "library_name: diffusers" in text and "vivface" not in text  # the one that diffusers writes
        ours = titles and any(text.strip() == str(make_card(folder, titles[0], place)).strip() for place in PLACES)
        if not generic and not ours:
            return text
    return str(make_card(folder, repo_id))


def _hidden(file: Path, folder: Path) -> bool:
    return any(name.startswith((".", "__pycache__")) for name in file.relative_to(folder).parts)

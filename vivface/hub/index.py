"""Find a checkpoint (bundled, folder, Hub) and read what it says of itself; no network is imported.

A saved pipeline is a folder: `model_index.json`, and per component a subfolder with `config.json` and safetensors.
"""

import json
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from vivface.errors import CheckpointError, first_line

INDEX = "model_index.json"
HUB_OPTIONS = ("revision", "local_files_only", "cache_dir", "token", "force_download", "proxies")
BUNDLED = ("stylegan3",)  # names of checkpoints that come with the package beside the default
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def hub_options(options: Mapping[str, object]) -> dict:
    """Those of a call's options that say how a file is fetched from the Hub."""
    return {name: options[name] for name in HUB_OPTIONS if options.get(name) is not None}


def locate(checkpoint: str | os.PathLike | None) -> str | os.PathLike:
    """Where a checkpoint is.

    Args:
        checkpoint (`str` or `os.PathLike`, *optional*): None for the one that comes with the package, one of `BUNDLED`
            for another one, else a folder or a Hub id, which stays as it is.

    Raises:
        CheckpointError: If this installation came without it.
    """
    if checkpoint is None:
        return bundled_checkpoint()
    return bundled_checkpoint(checkpoint) if checkpoint in BUNDLED and not os.path.isdir(checkpoint) else checkpoint


def bundled_checkpoint(name: str | None = None) -> Path:
    """Folder of the checkpoint that comes with the package, or of one of `BUNDLED`.

    Raises:
        CheckpointError: If this installation came without one.
    """
    folder = Path(str(resources.files("vivface") / "bundled"), name or "")
    if not (folder / INDEX).is_file():
        raise CheckpointError(
            f"This installation holds no bundled checkpoint ('{folder / INDEX}' is missing): reinstall vivface, or "
            "name a checkpoint folder or a Hub id."
        )
    return folder


def read_index(checkpoint: str | os.PathLike, pipeline_name: str | None = None, **hub) -> dict:
    """Read `model_index.json` of a folder or a Hub repository and check whose it is.

    Args:
        checkpoint (`str` or `os.PathLike`): Folder, or Hub id "owner/name".
        pipeline_name (`str`, *optional*): Class that the index must name; any by default.
        hub: `revision`, `local_files_only`, `cache_dir`, `token`, `force_download`, as for `hf_hub_download`.

    Returns:
        `dict`: The index, with the plain name of the class as `_class_name`.

    Raises:
        CheckpointError: If there is no such checkpoint, or it is another pipeline's.
    """
    name = os.fspath(checkpoint)
    if os.path.isdir(name):
        path = os.path.join(name, INDEX)
        if not os.path.isfile(path):
            raise CheckpointError(
                f"The folder '{name}' holds no {INDEX}: give a folder that `save_pretrained` or `vivface convert` "
                "wrote."
            )
    elif os.path.exists(name):
        raise CheckpointError(
            f"'{name}' is a file: give the folder of a checkpoint (`vivface convert` makes one of a published file)."
        )
    elif not HUB_ID.fullmatch(name):
        raise CheckpointError(f"There is no checkpoint folder '{name}': give a folder or a Hub id such as owner/name.")
    else:
        path = _from_hub(name, **hub)
    try:
        index = json.loads(Path(path).read_text(encoding="utf-8"))
        class_name = index["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{INDEX} of the checkpoint '{name}' is damaged ({error}): copy it again.") from error
    if isinstance(class_name, list):  # [module file, class], the form that generic loaders read
        class_name = class_name[-1]
    if pipeline_name is not None and class_name != pipeline_name:
        raise CheckpointError(
            f"The checkpoint '{name}' is a {class_name}, not a {pipeline_name}: give one that {pipeline_name} saved."
        )
    return {**index, "_class_name": class_name}


def find_file(checkpoint: str | os.PathLike, name: str, **hub) -> Path | None:
    """A file that a checkpoint may hold beside its index.

    Args:
        checkpoint (`str` or `os.PathLike`): Folder or Hub id.
        name (`str`): Path in the checkpoint.
        hub: As for `read_index`.

    Returns:
        `pathlib.Path`: Where it is on this machine; None if the checkpoint has no such file.

    Raises:
        CheckpointError: If it cannot be fetched.
    """
    if os.path.isdir(checkpoint):
        path = Path(checkpoint) / name
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        return Path(hf_hub_download(os.fspath(checkpoint), name, **hub))
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(f"'{name}' of '{checkpoint}' cannot be fetched ({first_line(error)}).") from error


def _from_hub(name: str, **hub) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return hf_hub_download(name, INDEX, **hub)
    except (RepositoryNotFoundError, GatedRepoError) as error:
        reason = "it does not exist on the Hub or is closed to you; log in with `hf auth login` if it is yours"
        raise CheckpointError(f"There is no checkpoint '{name}': {reason}.") from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"The checkpoint '{name}' has no revision '{hub.get('revision')}'.") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"The checkpoint '{name}' is neither a folder here nor in the cache, and the Hub cannot be reached: check "
            "the spelling and the connection."
        ) from error
    except EntryNotFoundError as error:
        raise CheckpointError(f"'{name}' on the Hub holds no {INDEX}: it is no pipeline.") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(f"The checkpoint '{name}' cannot be fetched ({first_line(error)}).") from error

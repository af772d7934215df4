"""Find a checkpoint (bundled, folder, Hub) and load its parts, each by its own class.

A saved pipeline is a folder: `model_index.json`, and per part a subfolder with `config.json` and safetensors. Loading
part by part needs no remote code and works alike for folders and for the Hub.
"""

import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import TypeVar

from diffusers import ModelMixin
from diffusers.utils import logging as diffusers_logging
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

from vivface.errors import CheckpointError

INDEX = "model_index.json"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

Part = TypeVar("Part", bound=ModelMixin)


def bundled_checkpoint() -> Path:
    """Folder of the checkpoint that comes with the package.

    Raises:
        CheckpointError: If this installation came without one.
    """
    folder = Path(str(resources.files("vivface") / "bundled"))
    if not (folder / INDEX).is_file():
        raise CheckpointError(
            f"This installation holds no bundled checkpoint ('{folder / INDEX}' is missing): reinstall vivface, or "
            "name a checkpoint folder or a Hub id."
        )
    return folder


def read_index(checkpoint: str | os.PathLike, pipeline_name: str, **hub) -> dict:
    """Read `model_index.json` of a folder or a Hub repository and check whose it is.

    Args:
        checkpoint: folder, or Hub id "owner/name".
        pipeline_name (`str`): class that the index must name.
        hub: `revision`, `local_files_only`, `cache_dir`, `token`, `force_download`, as for `hf_hub_download`.

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
        raise CheckpointError(f"{INDEX} of the checkpoint '{name}' is damaged ({error}): copy it anew.") from error
    if isinstance(class_name, list):  # [module file, class], the form that generic loaders read
        class_name = class_name[-1]
    if class_name != pipeline_name:
        raise CheckpointError(
            f"The checkpoint '{name}' is a {class_name}, not a {pipeline_name}: give one that {pipeline_name} saved."
        )
    return index


def load_part(part: type[Part], checkpoint: str | os.PathLike, subfolder: str, **hub) -> Part:
    """Load one network from its subfolder; every key and shape must fit, and only safetensors are read.

    Raises:
        CheckpointError: If files are missing, damaged, or belong to another network.
    """
    name = os.fspath(checkpoint)
    if os.path.isdir(name) and not os.path.isfile(os.path.join(name, subfolder, "config.json")):
        raise CheckpointError(f"The checkpoint '{name}' is incomplete: '{subfolder}/config.json' is missing.")
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)  # its complaints are given below, in one sentence
    try:
        config = part.load_config(name, subfolder=subfolder, **{k: v for k, v in hub.items() if k != "variant"})
        if config.get("_class_name") != part.__name__:
            raise CheckpointError(
                f"The part '{subfolder}' of the checkpoint '{name}' is a {config.get('_class_name')}, expected a "
                f"{part.__name__}."
            )
        model, info = part.from_pretrained(
            name, subfolder=subfolder, use_safetensors=True, output_loading_info=True, **hub
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, HfHubHTTPError) as error:
        raise CheckpointError(
            f"The part '{subfolder}' of the checkpoint '{name}' cannot be loaded ({_first_line(error)}): "
            "copy or convert it anew."
        ) from error
    finally:
        diffusers_logging.set_verbosity(verbosity)
    wrong = [f"{kind.split('_')[0]} {key}" for kind in ("missing_keys", "unexpected_keys") for key in info[kind]]
    if wrong:
        shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise CheckpointError(f"The weights of '{subfolder}' in the checkpoint '{name}' do not fit: {shown}.")
    return model


def _from_hub(name: str, **hub) -> str:
    hub = {key: value for key, value in hub.items() if key != "variant"}
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
        raise CheckpointError(f"The checkpoint '{name}' cannot be fetched ({_first_line(error)}).") from error


def _first_line(error: Exception) -> str:
    """The first line of a library's message, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".: ")

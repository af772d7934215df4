"""Load the CC0 MakeHuman assets: parsed once, then kept as one file."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
from scipy import sparse

from training.synthetic.kit import Kit, Proxy
from training.synthetic.parse import parse_assets
from vivface.errors import OptionError

KIT_VERSION = 7
_HOW = "see training/synthetic/README.md for where the assets come from"


def assets_folder(path: str | os.PathLike | None = None) -> Path:
    """The folder of MakeHuman assets.

    Args:
        path (`str` or `os.PathLike`, *optional*): The folder; by default the environment variable `VIVFACE_ASSETS`.

    Returns:
        `Path`: the folder.

    Raises:
        OptionError: If neither names a folder of MakeHuman assets.
    """
    path = path or os.environ.get("VIVFACE_ASSETS")
    if not path:
        raise OptionError(f"No folder of MakeHuman assets is given: pass one or set VIVFACE_ASSETS, {_HOW}.")
    if not (Path(path) / "3dobjs" / "base.obj").exists():
        raise OptionError(f"The assets folder {str(path)!r} does not hold 3dobjs/base.obj: give another, {_HOW}.")
    return Path(path)


def load_kit(assets: str | os.PathLike | None = None, cache: str | os.PathLike | None = None) -> Kit:
    """Load the kit from its cache, parsing the assets first if there is none (half a minute, once).

    Args:
        assets (`str` or `os.PathLike`, *optional*): See `assets_folder`.
        cache (`str` or `os.PathLike`, *optional*): Folder of the cache; by default the environment variable
            `VIVFACE_CACHE`, else `~/.cache/vivface`.

    Returns:
        `Kit`: Its arrays load lazily, so a worker starts in well under a second.

    Raises:
        OptionError: If the assets are needed and a file of them is missing.
    """
    cache = Path(cache or os.environ.get("VIVFACE_CACHE") or Path.home() / ".cache" / "vivface")
    archive = cache / f"heads-v{KIT_VERSION}.npz"
    if not archive.exists():
        folder = assets_folder(assets)
        try:
            arrays = parse_assets(folder)
        except FileNotFoundError as error:
            missing = os.path.relpath(error.filename, folder)
            raise OptionError(f"The assets folder {str(folder)!r} does not hold {missing}: add it, {_HOW}.") from error
        cache.mkdir(parents=True, exist_ok=True)
        temporary = archive.with_name(f".{archive.stem}-{os.getpid()}.npz")
        np.savez(temporary, **arrays)
        os.replace(temporary, archive)
    return _restore(archive)


def _restore(archive: Path) -> Kit:
    with zipfile.ZipFile(archive) as z:
        names = [n[:-4] for n in z.namelist() if not n.startswith("texture/")]
    with np.load(archive) as arrays:
        a = {name: arrays[name] for name in names}
    text = json.loads(bytes(a["text"]).decode())

    def csr(name: str) -> sparse.csr_matrix:
        return sparse.csr_matrix(
            (a[f"{name}/data"], a[f"{name}/indices"], a[f"{name}/indptr"]), shape=tuple(a[f"{name}/shape"])
        )

    proxies = {
        name: Proxy(**{key: a[f"proxy/{name}/{key}"] for key in Proxy.__dataclass_fields__}) for name in text["proxies"]
    }
    return Kit(
        base=a["base"], faces=a["faces"], uv=a["uv"], target_names=text["targets"], targets=csr("targets"),
        modifiers=[tuple(m) for m in text["modifiers"]], bones=text["bones"], parents=a["parents"],
        joints=csr("joints"), skin_weights=csr("skin_weights"), units=text["units"], unit_angles=a["unit_angles"],
        positions=a["positions"].astype(np.float32), coverage=a["coverage"], archive=archive, proxies=proxies,
    )  # fmt: skip

"""Signed C2PA manifests: written into finished files, or beside those that cannot hold one, and read.

A manifest says what made the file, that a trained model did (IPTC's digital source types), which mark its pictures
carry (a soft binding), and what went in: portrait and driving video are ingredients, with the manifests that they
themselves carry. It is bound to every byte of the file by a hash and a signature.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vivface.errors import MediaError, first_line
from vivface.files import complete_file
from vivface.media.provenance import SYNTHETIC_TYPE, SYNTHETIC_TYPES
from vivface.provenance.keys import SigningKey, trusted_certificates

MARK_NAME = "org.vivface.mark.1"  # of the pictures' mark, in the soft binding
SIDECAR_SUFFIX = ".c2pa"
KINDS = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
SIDECAR_KINDS = {".mkv": "video/x-matroska", ".webm": "video/webm"}
_READ_ONLY_KINDS = {".avi": "video/avi", ".avif": "image/avif", ".heic": "image/heic", ".tif": "image/tiff"}
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"remote_manifest_fetch": False}}


@dataclass(frozen=True)
class Ingredient:
    """Something that a result was made from.

    Attributes:
        title (`str`): What it is, such as "portrait"; names of files stay private.
        path (`pathlib.Path`): The file.
    """

    title: str
    path: Path


@dataclass(frozen=True)
class ManifestReport:
    """What a manifest says.

    Attributes:
        state (`str`): `"trusted"` (unchanged, and its signer is on a list of trust here), `"valid"` (unchanged, signer
            unknown) or `"invalid"`.
        problem (`str`): What is wrong with an invalid one, else "".
        signer (`str`): Who signed, as the certificate says, which is not checked unless `state` is `"trusted"`.
        maker (`str`): The program.
        source_types (tuple of `str`): IPTC digital source types that it states.
        mark (`str`): The number, in hexadecimal, of the mark that the pictures should carry, else "".
        ingredients (tuple of `str`): Their titles, and whether they carry manifests of their own.
        sidecar (`bool`): Whether it lies in a file beside.
    """

    state: str
    problem: str
    signer: str
    maker: str
    source_types: tuple[str, ...]
    mark: str
    ingredients: tuple[str, ...]
    sidecar: bool

    @property
    def says_synthetic(self) -> bool:
        """Whether it states that a trained model made the file or a part of it."""
        return any(kind in SYNTHETIC_TYPES for kind in self.source_types)


def sign_file(
    path: Path,
    key: SigningKey,
    version: str,
    *,
    name: Path | None = None,
    identifier: int | None = None,
    source_type: str = SYNTHETIC_TYPE,
    ingredients: Sequence[Ingredient] = (),
) -> Path | None:
    """Sign a finished file: the manifest goes into it, or into a file beside it.

    Args:
        path (`pathlib.Path`): The file; one that can hold a manifest is replaced when the signed one is complete.
        key (`SigningKey`): Signs.
        version (`str`): Of the program.
        name (`pathlib.Path`, *optional*): What the file will be called, where `path` is a temporary name.
        identifier (`int`, *optional*): Of the mark in the pictures.
        source_type (`str`, *optional*): IPTC digital source type.
        ingredients (sequence of `Ingredient`, *optional*): What it was made from; files that are gone are left out.

    Returns:
        `pathlib.Path`, *optional*: The file beside, if there is one.

    Raises:
        MediaError: If it cannot be signed.
    """
    suffix = path.suffix.lower()
    with _errors(name or path), ExitStack() as stack:
        builder = _builder(stack, version, identifier, source_type, ingredients)
        signer = _signer(stack, key)
        source = stack.enter_context(open(path, "rb"))
        if suffix in KINDS:
            with complete_file(path) as signed, open(signed, "w+b") as target:
                builder.sign(signer, KINDS[suffix], source, target)
            return None
        builder.set_no_embed()
        manifest = builder.sign(signer, SIDECAR_KINDS[suffix], source, io.BytesIO())
        beside = sidecar_of(name or path)
        with complete_file(beside) as temporary:
            temporary.write_bytes(manifest)
        return beside


def sign_bytes(data: bytes, kind: str, key: SigningKey, version: str, identifier: int | None = None) -> bytes:
    """Sign an image that is in memory.

    Args:
        data (`bytes`): The encoded image.
        kind (`str`): Such as `"image/jpeg"`.
        key, version, identifier: As for `sign_file`.

    Returns:
        `bytes`: The image with its manifest.

    Raises:
        MediaError: If it cannot be signed.
    """
    with _errors("the picture"), ExitStack() as stack:
        target = io.BytesIO()
        builder = _builder(stack, version, identifier, SYNTHETIC_TYPE, ())
        builder.sign(_signer(stack, key), kind, io.BytesIO(data), target)
        return target.getvalue()


def read_manifest(path: Path) -> ManifestReport | None:
    """Read and check the manifest of a file, or of the file beside it; None if there is none.

    Raises:
        MediaError: If C2PA's library is not there.
        OptionError: If VIVFACE_TRUST_ANCHORS cannot be read.
    """
    c2pa = _library()
    suffix, beside = path.suffix.lower(), sidecar_of(path)
    kind = {**KINDS, **SIDECAR_KINDS, **_READ_ONLY_KINDS}.get(suffix)
    sidecar = beside.is_file()
    settings = {**_SETTINGS}
    if (anchors := trusted_certificates()) is not None:
        settings["trust"] = {"user_anchors": anchors}
    with ExitStack() as stack:
        context = stack.enter_context(c2pa.Context.from_dict(settings))
        file = stack.enter_context(open(path, "rb"))
        try:
            reader = None if suffix in SIDECAR_KINDS else c2pa.Reader.try_create(kind, file, context=context)
            sidecar = sidecar and reader is None
            if sidecar:
                file.seek(0)
                reader = c2pa.Reader(kind or "video/webm", file, beside.read_bytes(), context)
        except c2pa.C2paError as error:
            if suffix in KINDS or sidecar:
                return ManifestReport("invalid", first_line(error), "", "", (), "", (), sidecar)
            return None  # a format that C2PA does not know
        if reader is None:
            return None
        stack.enter_context(reader)
        return _report(json.loads(reader.json()), sidecar)


def sidecar_of(path: Path) -> Path:
    """The file that holds the manifest of a file that cannot hold one itself."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def _report(store: dict[str, Any], sidecar: bool) -> ManifestReport:
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    state = {"Trusted": "trusted", "Valid": "valid"}.get(store.get("validation_state"), "invalid")
    failures = [item for item in store.get("validation_status") or [] if item["code"] != "signingCredential.untrusted"]
    problem = "; ".join(dict.fromkeys(item.get("explanation") or item["code"] for item in failures))
    signature = active.get("signature_info") or {}
    signer = ", ".join(signature[item] for item in ("common_name", "issuer") if signature.get(item))
    programs = active.get("claim_generator_info") or [{}]
    maker = " ".join(programs[0][item] for item in ("name", "version") if programs[0].get(item))
    types, mark = [], ""
    for assertion in active.get("assertions", []):
        data = assertion.get("data")
        if assertion["label"].startswith("c2pa.actions") and isinstance(data, dict):
            types += [action["digitalSourceType"] for action in data["actions"] if "digitalSourceType" in action]
        elif assertion["label"].startswith("c2pa.soft-binding") and data.get("alg") == MARK_NAME:
            mark = "".join(str(block.get("value", "")) for block in data.get("blocks", []))
    ingredients = tuple(
        f"{item.get('title', 'unnamed')}{' (with a manifest)' if item.get('active_manifest') else ''}"
        for item in active.get("ingredients", [])
    )
    shown = (problem or "it cannot be checked") if state == "invalid" else ""
    return ManifestReport(state, shown, signer, maker, tuple(dict.fromkeys(types)), mark, ingredients, sidecar)


def _builder(
    stack: ExitStack, version: str, identifier: int | None, source_type: str, ingredients: Sequence[Ingredient]
) -> Any:
    c2pa = _library()
    maker = {"name": "vivface", "version": version}
    actions = [{"action": "c2pa.created", "digitalSourceType": source_type, "softwareAgent": maker}]
    assertions: list[dict] = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
    if identifier is not None:
        actions.append({"action": "c2pa.watermarked.bound", "softwareAgent": maker})
        blocks = [{"scope": {}, "value": f"{identifier:08x}"}]
        assertions.append({"label": "c2pa.soft-binding", "data": {"alg": MARK_NAME, "blocks": blocks}})
    definition = {"claim_generator_info": [maker], "title": "vivface", "assertions": assertions}
    context = stack.enter_context(c2pa.Context.from_dict(_SETTINGS))
    builder = stack.enter_context(c2pa.Builder(json.dumps(definition), context))
    for item in ingredients:
        kind = {**KINDS, **_READ_ONLY_KINDS}.get(item.path.suffix.lower())
        if kind is None or not item.path.is_file():
            continue
        about = json.dumps({"title": item.title, "relationship": "inputTo"})
        with open(item.path, "rb") as file:
            _add(c2pa, builder, about, kind, file)
    return builder


def _add(c2pa: Any, builder: Any, about: str, kind: str, file: BinaryIO) -> None:
    try:
        builder.add_ingredient(about, kind, file)
    except c2pa.C2paError:  # damaged, or of another kind than its name says: a result can be made from it all the same
        pass


def _signer(stack: ExitStack, key: SigningKey) -> Any:
    c2pa = _library()
    timestamps = None if key.timestamps is None else key.timestamps.encode()
    info = c2pa.C2paSignerInfo(key.algorithm.encode(), key.certificates.encode(), key.private_key.encode(), timestamps)
    return stack.enter_context(c2pa.Signer.from_info(info))


@contextmanager
def _errors(name: Path | str) -> Iterator[None]:
    c2pa = _library()
    try:
        yield
    except (c2pa.C2paError, OSError) as error:
        raise MediaError(f"Cannot sign {str(name)!r}: {first_line(error)}.") from error


def _library() -> Any:
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:  # no wheel for this system, or its library does not load
        raise MediaError("Signed manifests need c2pa-python: pip install c2pa-python.") from error
    return c2pa

"""What a file says about where it comes from: metadata, manifest and mark, and whether they agree."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vivface.media.containers import input_path
from vivface.media.images import MAX_PIXELS
from vivface.media.provenance import is_marked_synthetic
from vivface.provenance.detection import MarkFinding, confirm_mark, find_mark
from vivface.provenance.manifest import ManifestReport, read_manifest
from vivface.provenance.pictures import FRAMES, pictures_of

Verdict = Literal["synthetic", "disagreement", "nothing"]


@dataclass(frozen=True)
class Verification:
    """What was found in a file.

    Attributes:
        path (`pathlib.Path`): The file.
        verdict (`str`): `"synthetic"` if it says, or its pictures show, that a trained model made it; `"disagreement"`
            if its signs contradict each other; `"nothing"` if there is none, which proves nothing.
        metadata (`bool`): Whether its plain metadata say that it is synthetic.
        manifest (`ManifestReport`, *optional*): The C2PA manifest.
        mark (`MarkFinding`): The search in the pictures.
        pictures (`int`): How many were looked at.
        disagreements (list of `str`): What contradicts what.
    """

    path: Path
    verdict: Verdict
    metadata: bool
    manifest: ManifestReport | None
    mark: MarkFinding
    pictures: int
    disagreements: list[str]

    def lines(self) -> list[str]:
        """For people: the verdict first, then a line for each kind of sign."""
        return [f"{self.path.name}: {self._headline()}", *self._signs(), *self.disagreements]

    def to_dict(self) -> dict[str, Any]:
        """For programs: plain values, with the verdict in words too."""
        values = asdict(self) | {"path": str(self.path), "words": self.lines()}
        if values["mark"]["identifier"] is not None:
            values["mark"]["identifier"] = f"{values['mark']['identifier']:08x}"
        return values

    def _headline(self) -> str:
        if self.verdict == "disagreement":
            return "its signs contradict each other, so do not rely on any of them."
        if self.verdict == "nothing":
            return "no sign of where it comes from. That does not mean that it is real: signs are easily lost."
        return "made or changed by a trained model, as it says itself."

    def _signs(self) -> list[str]:
        says = "synthetic (IPTC digital source type)" if self.metadata else "nothing about a trained model"
        return [f"Metadata: {says}.", f"Manifest: {self._manifest_words()}.", f"Mark: {self._mark_words()}."]

    def _manifest_words(self) -> str:
        report = self.manifest
        if report is None:
            return "none"
        place = "in the file beside it, " if report.sidecar else ""
        if report.state == "invalid":
            return f"{place}not valid: {report.problem}"
        trust = "a signer trusted on this machine" if report.state == "trusted" else "a signer that is not known here"
        made = "says synthetic" if report.says_synthetic else "does not say synthetic"
        parts = [f"{place}signed by {trust} ({report.signer}), unchanged since then, made with {report.maker}, {made}"]
        if report.mark:
            parts.append(f"names the mark {report.mark}")
        if report.ingredients:
            parts.append(f"made from: {', '.join(report.ingredients)}")
        return "; ".join(parts)

    def _mark_words(self) -> str:
        where = f"in {self.pictures} picture{'s' * (self.pictures != 1)}"
        if not self.mark.found:
            return f"not found {where}; one that fills less than 30 % of the height, or is much compressed, is missed"
        number = "its number cannot be read" if self.mark.identifier is None else f"number {self.mark.identifier:08x}"
        mirrored = ", mirrored" if self.mark.mirrored else ""
        return f"found {where}, {number}{mirrored}; chance of a false alarm {_chance_words(self.mark.chance)}"


def verify(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Verification:
    """Look for every sign that a file was made by a trained model.

    Args:
        path (`str` or `os.PathLike`): An image or a video, made by vivface or not. A manifest in a file beside it
            (`NAME.c2pa`) is read, too.
        max_pixels (`int`, *optional*): Width times height beyond which a picture is refused.

    Returns:
        `Verification`: What was found and how sure it is.

    Raises:
        MediaError: If the file is missing or neither an image nor a video that can be read.
        OptionError: If VIVFACE_TRUST_ANCHORS names a file that cannot be read.
    """
    path = input_path(path)
    groups = list(pictures_of(path, max_pixels))
    metadata = is_marked_synthetic(path)
    manifest = read_manifest(path)
    mark = _search(groups)
    disagreements = _disagreements(metadata, manifest, mark, groups)
    synthetic = metadata or mark.found or (manifest is not None and manifest.says_synthetic)
    verdict: Verdict = "disagreement" if disagreements else "synthetic" if synthetic else "nothing"
    return Verification(path, verdict, metadata, manifest, mark, sum(map(len, groups)), disagreements)


def _search(groups: list[list[np.ndarray]]) -> MarkFinding:
    """Search all frames together, then the first of each place: codecs keep more of the mark in key frames."""
    everything = [image for group in groups for image in group]
    tries = [everything] if len(everything) == 1 else [everything, *([group[0]] for group in groups)]
    best = None
    for images in tries:
        finding = find_mark(images, searches=len(tries))
        best = finding if best is None or finding.chance < best.chance else best
        if best.found:
            break
    return best


def _disagreements(
    metadata: bool, manifest: ManifestReport | None, mark: MarkFinding, groups: list[list[np.ndarray]]
) -> list[str]:
    if manifest is None:
        return []
    if manifest.state == "invalid":
        return [f"The manifest does not fit the file, which was changed after it was signed: {manifest.problem}."]
    if metadata and manifest.source_types and not manifest.says_synthetic:
        return ["The metadata say that the file is synthetic, but the manifest states another origin."]
    if mark.found and not manifest.says_synthetic:
        return ["The pictures carry the mark of vivface, but the manifest does not say that a trained model made them."]
    if mark.found and mark.identifier is not None and mark.identifier != _number(manifest.mark):
        named = f"names the mark {manifest.mark}" if manifest.mark else "names no mark"
        return [f"The manifest {named}, but the pictures carry the mark {mark.identifier:08x}."]
    number = _number(manifest.mark)
    if not mark.found and number is not None and not any(confirm_mark(group[:FRAMES], number) for group in groups):
        return [f"The manifest names the mark {manifest.mark}, but the pictures do not carry it."]
    return []


def _number(text: str) -> int | None:
    try:
        number = int(text, 16)
    except ValueError:
        return None
    return number if 0 <= number < 1 << 32 else None


def _chance_words(chance: float) -> str:
    if chance < 1e-12:
        return "below 1 in a million millions"
    return f"below 1 in {10 ** int(-math.log10(chance)):,}"

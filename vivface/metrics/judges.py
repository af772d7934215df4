"""Which networks judge: the papers' where their weights are at hand, else stand-ins whose values have other names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from vivface.errors import BackendError
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import LandmarkBackend
from vivface.metrics.coefficients import Deca, Deep3D
from vivface.metrics.csim import load_arcface
from vivface.metrics.descriptor import DlibDescriptor
from vivface.metrics.fid import Inception
from vivface.metrics.fvd import load_i3d
from vivface.metrics.lpips import load_lpips
from vivface.models.identity import IdentityNetwork


@dataclass
class Judges:
    """Networks that judge; None where there is none.

    Attributes:
        backend (`LandmarkBackend`): Finds faces, and what they do, in all crops; always the package's own.
        lpips, inception, i3d, arcface (`torch.nn.Module`, *optional*): The papers' networks.
        coefficients (list of `torch.nn.Module`): 3DMM readers, `Deep3D` or `Deca`.
        descriptor (`DlibDescriptor`, *optional*): Tells people apart, if dlib is installed.
        recognizer (`IdentityNetwork`, *optional*): Of the checkpoint, the stand-in of the first, second and fourth.
        missing (`dict[str, str]`): Metric -> why its network is not there.
    """

    backend: LandmarkBackend
    lpips: nn.Module | None = None
    inception: nn.Module | None = None
    i3d: nn.Module | None = None
    arcface: IdentityNetwork | None = None
    coefficients: list[Deep3D | Deca] = field(default_factory=list)
    descriptor: DlibDescriptor | None = None
    recognizer: IdentityNetwork | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Which networks there are; results of other ones must not be mixed with theirs."""
        found = [
            name for name in ("lpips", "inception", "i3d", "arcface", "descriptor", "recognizer") if getattr(self, name)
        ]
        return found + [reader.name for reader in self.coefficients]


def load_judges(
    recognizer: IdentityNetwork | None,
    weights: Path | None = None,
    download: bool = False,
    device: torch.device | str = "cpu",
) -> Judges:
    """All networks whose weights are at hand.

    Args:
        descriptor (`DlibDescriptor`, *optional*): Tells people apart, if dlib is installed.
        recognizer (`IdentityNetwork`, *optional*): Of the checkpoint.
        weights (`Path`, *optional*): Folder with published weights: `ir_se50/`, `weights-inception-2015-12-05-
            6726825d.pth`, `i3d_torchscript.pt`, `deep3dfacerecon.pth` with `similarity_Lm3D_all.mat`,
            `deca_model.tar`.
        download (`bool`, *optional*, defaults to `False`): Whether those of LPIPS and FID may be fetched.
        device (`torch.device`, *optional*): Where the networks compute.

    Raises:
        BackendError: If `weights` is no folder.
    """
    if weights is not None and not weights.is_dir():
        raise BackendError(f"--weights names '{weights}', which is no folder: give the one with the published weights.")
    judges = Judges(get_backend("mesh"))
    folder = weights or Path("WEIGHTS")  # as messages name it
    makers = {
        "LPIPS": ("lpips", lambda: load_lpips(download)),
        "CSIM": ("arcface", lambda: load_arcface(folder / "ir_se50")),
        "FID": ("inception", lambda: Inception(weights, download)),
        "FVD": ("i3d", lambda: load_i3d(weights)),
        "AED": ("Deep3DFaceRecon", lambda: Deep3D(folder)),
        "AED (DECA)": ("DECA", lambda: Deca(folder)),
    }
    for metric, (name, make) in makers.items():
        try:
            network = make().to(device)
        except BackendError as error:
            judges.missing[metric] = str(error)
            continue
        if metric.startswith("AED"):
            judges.coefficients.append(network)
        else:
            setattr(judges, name, network)
    try:
        judges.descriptor = DlibDescriptor()
    except BackendError as error:
        judges.missing["identity distance (dlib)"] = str(error)
    if recognizer is not None:
        judges.recognizer = recognizer.eval()
    return judges

"""Choose what finds faces.

`mesh`, the default, comes with the package: small networks that anybody may use (Apache-2.0). `dlib` and
`face-alignment` are packages of their own (`pip install "vivface[faces]"`), whose landmark files were trained on images
that may not be used commercially. Each imports its package when it is made.
"""

from __future__ import annotations

from vivface.engines import Engine
from vivface.errors import OptionError
from vivface.faces.dlib_backend import DlibBackend
from vivface.faces.face_alignment_backend import DETECTORS, FaceAlignmentBackend
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.mesh_backend import MeshBackend

BACKENDS = ("auto", "mesh", "dlib", "face-alignment", *(f"face-alignment:{name}" for name in DETECTORS))


def get_backend(name: str = "auto", device: str = "cpu", engine: Engine | None = None) -> LandmarkBackend:
    """Make a backend by name.

    Args:
        name (`str`, *optional*, defaults to `"auto"`): `"mesh"`, which `"auto"` means; `"dlib"`; `"face-alignment"`
            with its detector `sfd`, or `"face-alignment:NAME"` with another one of its detectors.
        device (`str`, *optional*, defaults to `"cpu"`): Where face-alignment computes; the others are quicker on the
            CPU than the way to a GPU and back, and ignore it.
        engine (`Engine`, *optional*): Computes the networks of `"mesh"` in place of PyTorch.

    Returns:
        `LandmarkBackend`: The backend.

    Raises:
        OptionError: If there is no such backend.
        BackendError: If the backend's package or weights cannot be had.
    """
    if name not in BACKENDS:
        raise OptionError(f"There is no landmark backend {name!r}: choose one of {', '.join(BACKENDS)}.")
    if name in ("auto", "mesh"):
        return MeshBackend(engine=engine)
    if name == "dlib":
        return DlibBackend()
    return FaceAlignmentBackend(detector=name.partition(":")[2] or "sfd", device=device)

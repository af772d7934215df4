"""Choose what finds faces.

Two families of backends: `dlib` works offline with the weights that its package carries; `face-alignment` is more
precise under large head turns and downloads its weights at first use. Each imports its package when it is made.
"""

from __future__ import annotations

from vivface.errors import OptionError
from vivface.faces.dlib_backend import DlibBackend
from vivface.faces.face_alignment_backend import DETECTORS, FaceAlignmentBackend, is_ready
from vivface.faces.landmarks import LandmarkBackend

BACKENDS = ("auto", "dlib", "face-alignment", *(f"face-alignment:{name}" for name in DETECTORS))


def get_backend(name: str = "auto", device: str = "cpu") -> LandmarkBackend:
    """Make a backend by name.

    Args:
        name (`str`, *optional*, defaults to `"auto"`): `"dlib"`; `"face-alignment"` with its detector `sfd`, or
            `"face-alignment:NAME"` with another one of its detectors; `"auto"` takes face-alignment only when it is
            installed and its weights are already on this machine, else dlib.
        device (`str`, *optional*, defaults to `"cpu"`): Where face-alignment computes; dlib ignores it.

    Raises:
        OptionError: If there is no such backend.
        BackendError: If the backend's package or weights cannot be had.
    """
    if name not in BACKENDS:
        raise OptionError(f"There is no landmark backend {name!r}: choose one of {', '.join(BACKENDS)}.")
    if name == "auto":
        name = "face-alignment" if is_ready("sfd") else "dlib"
    if name == "dlib":
        return DlibBackend()
    return FaceAlignmentBackend(detector=name.partition(":")[2] or "sfd", device=device)

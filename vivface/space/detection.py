"""One face detector for many visitors."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import replace

import numpy as np

from vivface.faces.landmarks import Effort, Face, LandmarkBackend

REMEMBERED = 16  # images whose faces are remembered


class SharedBackend:
    """A landmark backend that several threads may call, and that searches the same image only once.

    Args:
        backend (`LandmarkBackend`): Does the work, one call at a time.
    """

    def __init__(self, backend: LandmarkBackend):
        self.name = backend.name
        self._backend = backend
        self._found: OrderedDict[bytes, list[Face]] = OrderedDict()
        self.renew_lock()

    def renew_lock(self) -> None:
        """Start with a free lock: in a forked process, where nobody may be left who could free the old one."""
        self._lock = threading.Lock()

    def detect(self, image: np.ndarray, *, effort: Effort = "normal", near: Face | None = None) -> list[Face]:
        """All faces, the largest first; see `LandmarkBackend`."""
        if near is not None:
            with self._lock:
                return self._backend.detect(image, effort=effort, near=near)
        key = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16, person=effort.encode()).digest()
        key += str(image.shape).encode()
        with self._lock:
            if key not in self._found:
                self._found[key] = self._backend.detect(image, effort=effort)
                while len(self._found) > REMEMBERED:
                    self._found.popitem(last=False)
            self._found.move_to_end(key)
            return list(self._found[key])

    def refine(self, image: np.ndarray, face: Face) -> Face | None:
        """The same face in the next frame, or None; see `LandmarkBackend`."""
        with self._lock:
            return self._backend.refine(image, face)


def without_memory(face: Face) -> Face:
    """A face without what its backend keeps to follow it: small, and safe to keep."""
    return replace(face, memory=None)

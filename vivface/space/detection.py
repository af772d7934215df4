"""One face detector for many visitors."""

import hashlib
import threading
from collections import OrderedDict

import numpy as np

from vivface.faces.landmarks import Effort, Face, LandmarkBackend

REMEMBERED = 16  # pictures


class SharedBackend:
    """A landmark backend that may be called from several threads, and that looks at the same picture only once.

    Args:
        backend (`LandmarkBackend`): does the work, one call at a time.
    """

    def __init__(self, backend: LandmarkBackend):
        self.name = backend.name
        self._backend = backend
        self._lock = threading.Lock()
        self._seen: OrderedDict[bytes, list[Face]] = OrderedDict()

    def detect(self, image: np.ndarray, *, effort: Effort = "normal", near: Face | None = None) -> list[Face]:
        """All faces, the largest first; see `LandmarkBackend`."""
        if near is not None:
            with self._lock:
                return self._backend.detect(image, effort=effort, near=near)
        key = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16, person=effort.encode()).digest()
        key += str(image.shape).encode()
        with self._lock:
            if key not in self._seen:
                self._seen[key] = self._backend.detect(image, effort=effort)
                while len(self._seen) > REMEMBERED:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(key)
            return list(self._seen[key])

    def refine(self, image: np.ndarray, face: Face) -> Face | None:
        """The same face in the next frame, or None; see `LandmarkBackend`."""
        with self._lock:
            return self._backend.refine(image, face)

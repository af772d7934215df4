"""Faces in pictures and videos: find, follow, align, steady, and paste back."""

from vivface.faces.alignment import align_ffhq, crop_quad, ffhq_quad, make_quad, quad_angle, quad_center, quad_size
from vivface.faces.backends import get_backend
from vivface.faces.crops import CROPS, face_quad
from vivface.faces.landmarks import Face, LandmarkBackend, choose_face
from vivface.faces.paste import PasteBack, paste_back, soft_mask
from vivface.faces.smoothing import OneEuroFilter, QuadStabilizer
from vivface.faces.state import STATE_NAMES, FaceState, StateSmoother, read_state
from vivface.faces.tracking import FaceTracker, TrackedFace

__all__ = [
    "CROPS",
    "STATE_NAMES",
    "Face",
    "FaceState",
    "FaceTracker",
    "LandmarkBackend",
    "OneEuroFilter",
    "PasteBack",
    "QuadStabilizer",
    "StateSmoother",
    "TrackedFace",
    "align_ffhq",
    "choose_face",
    "crop_quad",
    "face_quad",
    "ffhq_quad",
    "get_backend",
    "make_quad",
    "paste_back",
    "quad_angle",
    "quad_center",
    "quad_size",
    "read_state",
    "soft_mask",
]

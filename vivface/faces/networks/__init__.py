"""Small networks that find faces: detectors, face mesh and eyes. Origin: `vivface/faces/weights/NOTICE`."""

from vivface.faces.networks.eye_network import EyeNetwork
from vivface.faces.networks.face_mesh import FaceMesh
from vivface.faces.networks.full_range_detector import FullRangeDetector
from vivface.faces.networks.loading import load_network
from vivface.faces.networks.short_range_detector import ShortRangeDetector

__all__ = ["EyeNetwork", "FaceMesh", "FullRangeDetector", "ShortRangeDetector", "load_network"]

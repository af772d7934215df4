"""Small networks that find faces: detectors, face mesh and eyes. Origin: `vivface/faces/weights/NOTICE`."""

from vivface.faces.networks.attention_mesh import AttentionMesh
from vivface.faces.networks.full_range_detector import FullRangeDetector
from vivface.faces.networks.loading import load_network
from vivface.faces.networks.short_range_detector import ShortRangeDetector

__all__ = ["AttentionMesh", "FullRangeDetector", "ShortRangeDetector", "load_network"]

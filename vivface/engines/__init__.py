"""What computes the networks of the inference path: PyTorch with settings, ONNX Runtime, OpenVINO, or the fastest."""

from vivface.engines.engine import ENGINES, Engine, get_engine
from vivface.engines.torch_engine import TorchEngine

__all__ = ["ENGINES", "Engine", "TorchEngine", "get_engine"]

"""Other engines than PyTorch for the networks of the inference path: ONNX Runtime and OpenVINO, and which is faster."""

from vivface.engines.engine import ENGINES, Engine, get_engine

__all__ = ["ENGINES", "Engine", "get_engine"]

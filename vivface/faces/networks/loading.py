"""Load a face network with the weights that the package carries."""

from importlib.resources import files

import torch
from safetensors.torch import load
from torch import nn

from vivface.engines import Engine
from vivface.errors import BackendError
from vivface.faces.networks.attention_mesh import AttentionMesh
from vivface.faces.networks.full_range_detector import FullRangeDetector
from vivface.faces.networks.inference import prepare
from vivface.faces.networks.person_segmentation import PersonSegmentation
from vivface.faces.networks.short_range_detector import ShortRangeDetector

NETWORKS: dict[str, type[nn.Module]] = {
    "short_range_detector": ShortRangeDetector,
    "full_range_detector": FullRangeDetector,
    "attention_mesh": AttentionMesh,
    "person_segmentation": PersonSegmentation,
}


def load_network(name: str, device: str | torch.device = "cpu", engine: Engine | None = None) -> nn.Module:
    """A network ready to compute, in float32.

    Args:
        name (`str`): One of `NETWORKS`.
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): Where it computes.
        engine (`Engine`, *optional*): Computes it in place of PyTorch.

    Returns:
        `torch.nn.Module`: The network, in evaluation mode, without gradients.

    Raises:
        BackendError: If its weights are missing or damaged.
    """
    path = files("vivface.faces") / "weights" / f"{name}.safetensors"
    with torch.device("meta"):
        network = NETWORKS[name]()
    try:
        weights = {key: value.float() for key, value in load(path.read_bytes()).items()}
        network.load_state_dict(weights, assign=True)
    except Exception as error:  # safetensors, torch and the file system have no common base
        raise BackendError(f"The weights '{path}' cannot be read: install vivface again.") from error
    network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    if engine is None:
        return prepare(network)
    return engine(network, threads=1)  # small: a second thread would hardly help

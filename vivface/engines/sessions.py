"""A graph ready to compute, by ONNX Runtime or OpenVINO: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from vivface.errors import BackendError

Arrays = Sequence[np.ndarray]
Session = Callable[[Arrays], Arrays]


def onnxruntime_session(graph: bytes, threads: int) -> Session:
    """A session of ONNX Runtime on the CPU.

    Args:
        graph (`bytes`): An ONNX file.
        threads (`int`): CPU threads.

    Raises:
        BackendError: If ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError("ONNX Runtime is not installed: pip install 'vivface[onnxruntime]'.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def openvino_session(graph: bytes, threads: int) -> Session:
    """A compiled model of OpenVINO on the CPU, in float32; arguments as above.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    core = _openvino_core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it, with errors of 4e-3 of the range
    }
    request = core.compile_model(core.read_model(graph), "CPU", options).create_infer_request()
    count = len(request.model_outputs)

    def run(arrays: Arrays) -> Arrays:
        request.infer(list(arrays), share_inputs=True)
        return [request.get_output_tensor(index).data.copy() for index in range(count)]

    return run


@cache
def _openvino_core():
    try:
        import openvino
    except ImportError as error:
        raise BackendError("OpenVINO is not installed: pip install 'vivface[openvino]'.") from error
    return openvino.Core()


SESSIONS: dict[str, Callable[[bytes, int], Session]] = {
    "onnxruntime": onnxruntime_session,
    "openvino": openvino_session,
}

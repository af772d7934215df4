"""What `vivface export` does: run a pipeline once, see which networks are called how, and export these."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from vivface.cli.benchmark import write_inputs
from vivface.engines.calls import NoGraphError
from vivface.engines.graphs import MANIFEST, export
from vivface.engines.recording import RecordedCall, Recorder
from vivface.errors import BackendError
from vivface.pipelines.base import ReenactmentPipeline

BATCHES = (1, 2)  # a graph for single frames, which are computed differently, and one for batches of any size


def export_pipeline(
    pipeline: ReenactmentPipeline, folder: Path, kind: str, on_graph: Callable[[str], None] | None = None
) -> list[dict]:
    """Export the networks that run for every frame, those that find faces among them.

    The portrait is read by PyTorch, once.

    Args:
        pipeline (`ReenactmentPipeline`): On the CPU, float32.
        folder (`pathlib.Path`): Where to write the graphs and `graphs.json`, their list.
        kind (`str`): `"onnx"` or `"openvino"`.
        on_graph (callable, *optional*): Told the name of every graph before it is made.

    Returns:
        `list[dict]`: What `graphs.json` lists of each: `key`, `file`, `network`, `batch` (`"any"` or 1), `inputs`, and
        `arguments` and `result`, how the tensors form them.

    Raises:
        BackendError: If an exporter is not installed or cannot export a network.
    """
    entries = []
    names = {id(component): name for name, component in pipeline.components.items()}
    counts: dict[str, int] = {}
    for recorded in record_calls(pipeline):
        component = names.get(id(recorded.network), type(recorded.network).__name__)
        batch = "any" if any(recorded.call.batched) else 1
        stem = f"{component}-{'batch' if batch == 'any' else 'single'}"
        counts[stem] = counts.get(stem, 0) + 1
        name = stem if counts[stem] == 1 else f"{stem}-{counts[stem]}"
        if on_graph is not None:
            on_graph(name)
        entries.append(_write(recorded, folder, name, kind, component, batch))
    (folder / MANIFEST).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return entries


@torch.no_grad()
def record_calls(pipeline: ReenactmentPipeline) -> list[RecordedCall]:
    """Every kind of call that one pass over a portrait and a driving video makes."""
    recorder = Recorder()
    kept = pipeline._engine, pipeline._backend
    try:
        pipeline.use_engine(recorder)
        pipeline.use_detector("mesh")
        with tempfile.TemporaryDirectory() as folder:
            portrait, video = write_inputs(Path(folder), 2)
            identity = pipeline.encode_identity(portrait, adapt=0)
            for size in BATCHES:
                for _ in pipeline.render(identity, pipeline.encode_motion(video), batch_size=size):
                    pass
    finally:
        pipeline._engine, pipeline._backend = kept
    return recorder.calls


def _write(recorded: RecordedCall, folder: Path, name: str, kind: str, component: str, batch: str | int) -> dict:
    try:
        graph, result = export(recorded.network, recorded.call)
    except NoGraphError as error:
        raise BackendError(f"{error}: leave it to PyTorch (--engine torch).") from error
    if kind == "openvino":
        try:
            import openvino
        except ImportError as error:
            raise BackendError("OpenVINO is not installed: pip install 'vivface[openvino]'.") from error
        file = f"{name}.xml"
        openvino.save_model(openvino.Core().read_model(graph), folder / file, compress_to_fp16=False)
    else:
        file = f"{name}.onnx"
        (folder / file).write_bytes(graph)
    shapes = zip(recorded.call.tensors, recorded.call.batched, strict=True)
    return {
        "key": recorded.key,
        "file": file,
        "network": component,
        "batch": batch,
        "inputs": [["batch" if batched else t.shape[0], *t.shape[1:]] for t, batched in shapes],
        "arguments": recorded.call.description,
        "result": result,
    }

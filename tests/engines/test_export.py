"""`vivface export`: which calls a pipeline makes, and folders of graphs that engines read."""

import json

import numpy as np
import pytest
import torch

from vivface.cli import exporting
from vivface.engines import Engine
from vivface.engines.calls import Call
from vivface.engines.graphs import GraphStore, graph_name
from vivface.engines.recording import RecordedCall


def test_every_network_of_a_frame_is_recorded(tiny_pipeline):
    calls = exporting.record_calls(tiny_pipeline)
    networks = {type(recorded.network).__name__ for recorded in calls}
    assert networks == {
        *("ShortRangeDetector", "FullRangeDetector", "AttentionMesh"),
        *("HybridEncoder", "DeformationTransformer", "StyleGAN2Generator", "RefinementNetwork"),
    }
    for name in ("encoder", "transformer", "generator", "refinement"):
        kinds = [any(r.call.batched) for r in calls if r.network is getattr(tiny_pipeline, name)]
        assert True in kinds and False in kinds  # for batches and for single frames
    assert len({recorded.key for recorded in calls}) == len(calls)
    assert tiny_pipeline._engine is None


class TestFolder:
    @pytest.fixture
    def calls(self, tiny_pipeline, monkeypatch) -> list[RecordedCall]:
        pytest.importorskip("onnxscript", reason="ONNX is not installed: pip install 'vivface[onnxruntime]'")
        network, found = tiny_pipeline.transformer.eval(), []
        for batch in (1, 2):
            call = Call.of((torch.rand(batch, 10, 32), torch.rand(1, 16, 32)), {})
            found.append(RecordedCall(network, call, graph_name(network, call)))
        monkeypatch.setattr(exporting, "record_calls", lambda pipeline: found)
        return found

    @torch.no_grad()
    def test_engines_read_it(self, calls, tiny_checkpoint, tmp_path, run_cli, monkeypatch):
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'vivface[onnxruntime]'")
        folder = tmp_path / "graphs"
        status, out, err = run_cli("export", tiny_checkpoint, "-o", folder)
        assert status == 0 and out.startswith(f"{folder}: 2 graphs, "), err
        entries = json.loads((folder / "graphs.json").read_text())
        assert [entry["file"] for entry in entries] == [
            f"DeformationTransformer-{kind}.onnx" for kind in ("single", "batch")
        ]
        assert entries[1]["inputs"] == [["batch", 10, 32], [1, 16, 32]] and entries[1]["batch"] == "any"
        monkeypatch.setattr("vivface.engines.graphs.export", lambda *_: pytest.fail("exported again"))
        network, engine = calls[0].network, Engine("onnxruntime", GraphStore(folder))
        for recorded in calls:
            expected = network(*recorded.call.tensors)
            assert (engine(network)(*recorded.call.tensors) - expected).abs().max() < 1e-4
        assert run_cli("export", tiny_checkpoint, "-o", folder)[0] == 2  # is there already

    def test_openvino_files(self, calls, tiny_checkpoint, tmp_path, run_cli):
        openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'vivface[openvino]'")
        folder = tmp_path / "graphs"
        assert run_cli("export", tiny_checkpoint, "-o", folder, "--format", "openvino")[0] == 0
        core = openvino.Core()
        model = core.read_model(folder / "DeformationTransformer-batch.xml")
        assert model.inputs[0].partial_shape[0].is_dynamic
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        for batch in (3, 1):
            inputs = [
                np.random.default_rng(0).random((count, *shape), np.float32)
                for count, shape in ((batch, (10, 32)), (1, (16, 32)))
            ]
            made = core.compile_model(model, "CPU", options)(inputs)[0]
            with torch.no_grad():
                expected = calls[0].network(*map(torch.from_numpy, inputs)).numpy()
            assert abs(made - expected).max() < 1e-4

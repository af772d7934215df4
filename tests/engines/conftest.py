"""A folder for graphs, shared by the tests of a run: exporting is what takes time."""

import pytest

from vivface.engines.graphs import GraphStore


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> GraphStore:
    pytest.importorskip("onnxscript", reason="ONNX is not installed: pip install 'vivface[onnxruntime]'")
    return GraphStore(tmp_path_factory.mktemp("graphs"))

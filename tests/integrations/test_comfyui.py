"""ComfyUI's nodes, with a stand-in for `comfy_api`: what they declare, and what they do with tensors and videos."""

import asyncio
import importlib.util
import io as bytes_io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from tests.clips import portrait as portrait_picture
from tests.clips import read_times, write_face_clip
from tests.conftest import REPOSITORY
from vivface.errors import OptionError
from vivface.provenance import verify

FOLDER = REPOSITORY / "integrations" / "comfyui"


class Slot:
    """An input or an output of a node, as it was declared."""

    def __init__(self, kind: str, name: str = "", **about):
        self.kind, self.name, self.about = kind, name, about


class FromFile:
    """A VIDEO that is a file, or bytes in memory."""

    def __init__(self, source, trim=(0.0, 0.0)):
        self.source, self.trim = source, trim

    def get_stream_source(self):
        return self.source

    def get_active_trim_window(self):
        return self.trim

    def save_to(self, path: str) -> None:
        Path(path).write_bytes(Path(self.source).read_bytes())


@pytest.fixture
def nodes(monkeypatch, tmp_path):
    """The module of the nodes, loaded as ComfyUI loads a folder."""
    kinds = ("Image", "Video", "Combo", "Boolean", "Float", "Int", "String")
    shown: list[tuple] = []
    io = SimpleNamespace(
        ComfyNode=object,
        Schema=SimpleNamespace,
        NodeOutput=lambda *values: SimpleNamespace(values=values),
        **{
            kind: SimpleNamespace(
                Input=lambda name, kind=kind, **about: Slot(kind, name, **about),
                Output=lambda kind=kind, **about: Slot(kind, **about),
            )
            for kind in kinds
        },
    )
    latest = ModuleType("comfy_api.latest")
    latest.io, latest.ComfyExtension = io, object
    latest.InputImpl = SimpleNamespace(VideoFromFile=FromFile)
    latest.ComfyAPISync = lambda: SimpleNamespace(
        execution=SimpleNamespace(set_progress=lambda value, total: shown.append((value, total)))
    )
    paths = ModuleType("folder_paths")
    paths.get_temp_directory = lambda: str(tmp_path / "temp")
    monkeypatch.setitem(sys.modules, "comfy_api", ModuleType("comfy_api"))
    monkeypatch.setitem(sys.modules, "comfy_api.latest", latest)
    monkeypatch.setitem(sys.modules, "folder_paths", paths)
    spec = importlib.util.spec_from_file_location(
        "vivface_nodes", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "vivface_nodes", package)
    spec.loader.exec_module(package)
    module = sys.modules["vivface_nodes.nodes"]
    module.shown = shown
    module.entrypoint = package.comfy_entrypoint
    yield module
    del sys.modules["vivface_nodes.nodes"]  # the next test has a `comfy_api` of its own


@pytest.fixture
def image() -> torch.Tensor:
    return torch.from_numpy(portrait_picture()).float()[None] / 255


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_face_clip(tmp_path / "clip.mp4", frames=3)


def test_what_comfyui_loads(nodes):
    extension = asyncio.run(nodes.entrypoint())
    found = asyncio.run(extension.get_node_list())
    schemas = [node.define_schema() for node in found]
    assert [schema.node_id for schema in schemas] == ["VivfaceReenact", "VivfaceVerify"]
    for node, schema in zip(found, schemas, strict=True):
        named = [item.name for item in schema.inputs]
        takes = node.execute.__code__.co_varnames[1 : node.execute.__code__.co_argcount]
        assert list(takes) == named  # the names of inputs are those of the parameters
        assert schema.category == "vivface" and schema.description and schema.display_name
    motions = next(item for item in schemas[0].inputs if item.name == "motion").about["options"]
    assert motions[0] == nodes.NO_MOTION and "nod" in motions


def test_a_portrait_moves(nodes, image, clip, tiny_checkpoint):
    output = nodes.VivfaceReenact.execute(image, FromFile(str(clip)), checkpoint=str(tiny_checkpoint), paste_back=True)
    video, report = output.values
    path = Path(video.get_stream_source())
    assert read_times(path) == read_times(clip) and "3 frames" in report
    assert path.parent.parent.name == "temp" and nodes.shown[-1] == (3, 3)
    verdict, lines = nodes.VivfaceVerify.execute(video).values
    assert verdict == "synthetic" and "Manifest: signed" in lines
    assert verify(path).mark.found


def test_videos_in_memory_and_trimmed_ones(nodes, clip, tmp_path):
    folder = tmp_path / "copies"
    folder.mkdir()
    assert nodes.file_of(FromFile(str(clip)), folder) == clip
    copy = nodes.file_of(FromFile(bytes_io.BytesIO(clip.read_bytes())), folder)
    assert copy.parent == folder and copy.read_bytes() == clip.read_bytes()
    assert nodes.file_of(FromFile(str(clip), trim=(1.0, 0.0)), folder).parent == folder


def test_nothing_to_drive(nodes, image):
    with pytest.raises(OptionError, match="connect a video"):
        nodes.VivfaceReenact.execute(image)


def test_pictures(nodes, image):
    assert (nodes.portrait_of(image) == portrait_picture()).all()
    assert nodes.portrait_of(torch.rand(2, 4, 5, 4)).shape == (4, 5, 3)

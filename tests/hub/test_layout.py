"""The files for generic loaders: they load what was saved, and hold no name that a folder could choose."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from vivface import CheckpointError, VivFacePipeline
from vivface.hub.layout import generic_files, write_generic_layout
from vivface.hub.push import push_folder

GENERIC = """
import sys
import torch
from diffusers import DiffusionPipeline
from vivface import VivFacePipeline

generic = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
ours = VivFacePipeline.from_pretrained(sys.argv[1])
assert type(generic) is VivFacePipeline
assert generic.config.crop == ours.config.crop and generic.config.image_size == ours.config.image_size
for name, component in ours.components.items():
    theirs = generic.components[name]
    assert type(component) is type(theirs), name
    if component is not None:
        weights = theirs.state_dict()
        assert all(torch.equal(tensor, weights[key]) for key, tensor in component.state_dict().items()), name
"""
PLAIN = {
    "generator": ["vivface.models.stylegan2", "StyleGAN2Generator"],
    "encoder": ["vivface.models.encoder", "HybridEncoder"],
}


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "tiny"))


def change(folder: Path, **entries: object) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | entries))


@pytest.mark.parametrize("before", ["saved", "plain"])
def test_generic_route(folder, tmp_path, before):
    """In a process of its own, as generic loaders import the files."""
    if before == "plain":  # as pipelines were saved before
        for file in folder.rglob("*.py"):
            file.unlink()
        change(folder, **PLAIN, _class_name="VivFacePipeline")
        write_generic_layout(folder)
    environment = {"PYTHONPATH": str(REPOSITORY), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PATH": ""}
    command = [sys.executable, "-c", GENERIC, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_our_own_route_reads_both(folder):
    assert VivFacePipeline.from_pretrained(folder).generator.config.size == 64
    change(folder, **PLAIN, _class_name="VivFacePipeline")
    assert VivFacePipeline.from_pretrained(folder).generator.config.size == 64


def test_writing_again_changes_nothing(folder):
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    write_generic_layout(folder)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


EVIL = "StyleGAN2Generator\nimport os; os.mkdir('ran')"


class TestOnlyOurNames:
    @pytest.mark.parametrize(
        "entry",
        [
            ["vivface.models.stylegan2", EVIL],
            ["os", "path"],
            ["vivface.models.stylegan2", "HybridEncoder"],
            ["..", "os.path"],
            ["vivface.models.stylegan2\nimport os", "StyleGAN2Generator"],
            ["modeling_../../evil", "StyleGAN2Generator"],
            ["vivface.models.stylegan2", ["StyleGAN2Generator"]],
            ["vivface.models.stylegan2", {"a": 1}],
            [["vivface.models.stylegan2"], "StyleGAN2Generator"],
        ],
        ids=str,
    )
    def test_component(self, folder, entry):
        change(folder, generator=entry)
        self.refused(folder)

    @pytest.mark.parametrize("key", ["evil", "../evil", "generator/../evil", "evil\nimport os"])
    def test_unknown_component(self, folder, key):
        change(folder, **{key: ["vivface.models.stylegan2", "StyleGAN2Generator"]})
        self.refused(folder)

    @pytest.mark.parametrize(
        "name",
        ["DDPMPipeline", f"VivFacePipeline{EVIL}", ["pipeline_vivface", EVIL], ["..", "os.path"], [], 3, None, [["a"]]],
        ids=str,
    )
    def test_pipeline(self, folder, name):
        change(folder, _class_name=name)
        self.refused(folder)

    def test_a_module_that_is_not_ours(self, folder):
        """The pipeline's own name with another file: what is written is ours."""
        change(folder, _class_name=["os\nimport os", "VivFacePipeline"])
        files = generic_files(folder)
        assert "from vivface.pipelines.vivface import VivFacePipeline" in files["pipeline_vivface.py"]
        assert "import os" not in "".join(files.values())

    def refused(self, folder: Path) -> None:
        """One sentence, by every way, and nothing is written."""
        before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for action in (write_generic_layout, lambda path: push_folder(path, "alice/tiny")):
            with pytest.raises(CheckpointError) as error:
                action(folder)
            assert "\n" not in str(error.value) and str(error.value).endswith(".")
        assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before

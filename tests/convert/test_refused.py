"""Wrong, truncated, renamed and malicious files of each kind: one sentence, status 2, nothing run, nothing written."""

from pathlib import Path

import pytest
import torch

from tests.convert.command import refused
from tests.convert.layouts import cheap, nvidia_names
from tests.convert.nvidia_pickle import network, write

LAYOUTS = {  # kind -> its layout, and the entry that holds the tensors
    "vivface": ("vivface_stage1/manifest.json", "state_dict"),
    "stylegan2": ("stylegan2/manifest_64.json", "g_ema"),
    "e4e": ("e4e/manifest.json", "state_dict"),
    "ir-se50": ("arcface/manifest.json", None),
    "nvidia": ("stylegan2/manifest_64.json", None),
}
KINDS = list(LAYOUTS)


class Evil:
    """Runs code wherever it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return exec, (f"open({str(self.mark)!r}, 'w')",)


class Case:
    """A file of one kind, to be spoilt, and its conversion."""

    def __init__(self, kind: str, parity_dir: Path, folder: Path):
        self.kind, self.folder = kind, folder
        manifest, container = LAYOUTS[kind]
        self.content = cheap(parity_dir / manifest)
        if kind == "nvidia":
            self.content = nvidia_names(self.content["g_ema"], self.content["latent_avg"])
        self.tensors = self.content[container] if container else self.content
        self.file = folder / ("file.pkl" if kind == "nvidia" else "file.pt")

    def save(self) -> None:
        if self.kind == "nvidia":
            entries = {name: tensor.clone() for name, tensor in self.content.items()}
            write(self.file, {"G_ema": network("Generator", entries)})
        else:
            torch.save(self.content, self.file)

    def refused(self) -> str:
        command = "stylegan2" if self.kind == "nvidia" else self.kind
        sentence = refused(command, self.file, output=self.folder / "out")
        assert not (self.folder / "ran").exists()
        return sentence

    @property
    def a_weight(self) -> str:
        """Name of a tensor deep inside."""
        return next(name for name, t in self.tensors.items() if t.ndim >= 2 and "." in name and "weight" in name)


@pytest.fixture(params=KINDS)
def case(request, parity_dir, tmp_path) -> Case:
    return Case(request.param, parity_dir, tmp_path)


def test_missing(case):
    assert "missing" in case.refused()


def test_folder(case):
    case.file.mkdir()
    assert "folder" in case.refused()


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>Too many users</html>", b"PK\x03\x04 no zip", b"\x80"])
def test_no_checkpoint(case, content):
    case.file.write_bytes(content)
    assert str(case.file) in case.refused()


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_truncated(case, share):
    case.save()
    whole = case.file.read_bytes()
    case.file.write_bytes(whole[: int(len(whole) * share)])
    assert str(case.file) in case.refused()


def test_renamed_entry(case):
    case.tensors[case.a_weight + "_renamed"] = case.tensors.pop(case.a_weight)
    case.save()
    case.refused()


def test_missing_entry(case):
    name = case.a_weight
    del case.tensors[name]
    case.save()
    case.refused()


def test_unexpected_entry(case):
    name = case.a_weight.replace("weight", "other")
    case.tensors[name] = torch.zeros(3)
    case.save()
    assert "other" in case.refused()


def test_wrong_shape(case):
    case.tensors[case.a_weight] = torch.zeros(7, 5, 3)
    case.save()
    case.refused()


def test_not_finite(case):
    tensor = case.tensors[case.a_weight]
    case.tensors[case.a_weight] = torch.full((), torch.nan).expand(tensor.shape)
    case.save()
    assert "not finite" in case.refused()


def test_integers(case):
    tensor = case.tensors[case.a_weight]
    case.tensors[case.a_weight] = torch.zeros((), dtype=torch.int64).expand(tensor.shape)
    case.save()
    assert "int64" in case.refused()


def test_no_tensor(case):
    case.save()
    if case.kind == "nvidia":
        write(case.file, {"G_ema": {"_parameters": 3}})
    else:
        case.tensors[case.a_weight] = "text"
        case.save()
    case.refused()


@pytest.mark.parametrize("content", [3, [1, 2], {}, {"weights": {"a": torch.zeros(2)}}, torch.zeros(3)])
def test_other_content(case, content):
    if case.kind == "nvidia":
        write(case.file, content)
    else:
        torch.save(content, case.file)
    case.refused()


@pytest.mark.parametrize("old_format", [False, True])
def test_malicious(case, old_format):
    evil = Evil(case.folder / "ran")
    if case.kind == "nvidia":
        write(case.file, {"G_ema": evil}, protocol=2 if old_format else 4)
    else:
        case.content["opts"] = evil
        torch.save(case.content, case.file, _use_new_zipfile_serialization=not old_format)
    sentence = case.refused()
    assert "refused" in sentence and "exec" in sentence


@pytest.mark.parametrize("kind", ["vivface", "stylegan2", "e4e", "ir-se50"])
@pytest.mark.parametrize("given", KINDS)
def test_file_of_another_kind(kind, given, parity_dir, tmp_path):
    if given in (kind, {"stylegan2": "nvidia"}.get(kind)):
        pytest.skip("its own kind")
    case = Case(given, parity_dir, tmp_path)
    case.save()
    refused(kind, case.file, output=tmp_path / "out")


class TestStages:
    def save(self, parity_dir, tmp_path, stage):
        torch.save(cheap(parity_dir / f"vivface_stage{stage}/manifest.json"), tmp_path / f"stage{stage}.pt")
        return tmp_path / f"stage{stage}.pt"

    def test_exchanged(self, parity_dir, tmp_path):
        stage1, stage2 = self.save(parity_dir, tmp_path, 1), self.save(parity_dir, tmp_path, 2)
        assert "is a stage II file" in refused("vivface", stage2, "--stage2", stage1, output=tmp_path / "out")

    def test_stage_1_twice(self, parity_dir, tmp_path):
        stage1 = self.save(parity_dir, tmp_path, 1)
        assert "is a stage I file" in refused("vivface", stage1, "--stage2", stage1, output=tmp_path / "out")

    def test_half_of_the_refinement(self, parity_dir, tmp_path):
        content = cheap(parity_dir / "vivface_stage2/manifest.json")
        content["state_dict"] = {k: v for k, v in content["state_dict"].items() if not k.startswith("residue.")}
        torch.save(content, tmp_path / "stage2.pt")
        assert "Modulator" in refused("vivface", tmp_path / "stage2.pt", output=tmp_path / "out")


class TestOutput:
    def test_no_parent(self, parity_dir, tmp_path):
        case = Case("stylegan2", parity_dir, tmp_path)
        case.save()
        assert "does not exist" in refused("stylegan2", case.file, output=tmp_path / "no" / "out")

    @pytest.mark.parametrize("stage", ["weights", "card"])
    def test_a_full_disk(self, parity_dir, tmp_path, monkeypatch, stage):
        from huggingface_hub import ModelCard

        case = Case("stylegan2", parity_dir, tmp_path)
        case.save()

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        if stage == "weights":
            monkeypatch.setattr("safetensors.torch.save_file", full)
        else:
            monkeypatch.setattr(ModelCard, "save", full)
        assert "No space left on device" in refused("stylegan2", case.file, output=tmp_path / "out")

    def test_verify_finds_a_difference(self, parity_dir, tmp_path, monkeypatch):
        from vivface.models import StyleGAN2Generator

        case = Case("stylegan2", parity_dir, tmp_path)
        case.save()
        save = StyleGAN2Generator.save_pretrained

        def spoil(self, *arguments, **options):
            with torch.no_grad():
                self.convs[1].bias.data = self.convs[1].bias.data + 1
            save(self, *arguments, **options)

        monkeypatch.setattr(StyleGAN2Generator, "save_pretrained", spoil)
        sentence = refused("stylegan2", case.file, "--verify", output=tmp_path / "out")
        assert "convs.1.bias" in sentence

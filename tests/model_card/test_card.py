"""Model cards: valid for huggingface_hub, filled from what the folder holds, silent about what it does not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from tests.conftest import REPOSITORY
from tests.snippets import SnippetRunner, snippets
from vivface import CheckpointError
from vivface.hub.card import ORIGINS, make_card
from vivface.hub.push import card_text
from vivface.media import load_image, save_image

BUNDLED = REPOSITORY / "vivface" / "bundled"
NAME = "vivface-128"

TRAINING = {
    "description": "Trained on renders whose truth is known.",
    "data": "40 000 rendered clips of 800 people.",
    "license": "apache-2.0",
    "datasets": ["alice/heads"],
    "stages": [{"name": "known truth", "steps": 30000, "batch": 24}, {"name": "refinement", "steps": 5000}],
    "limitations": ["Glasses are not rendered."],
}
METRICS = {
    "dataset": {"name": "Held-out people", "type": "alice/heads"},
    "metrics": [
        {"name": "PSNR", "value": 21.5, "meaning": "dB, own motion"},
        {"name": "Yaw", "value": 0.93, "meaning": "correlation with the driver"},
    ],
}
SECTIONS = ("How to use", "Components and", "How it was trained", "Evaluation", "Limitations", "Intended use")
SECTIONS += ("Out of scope", "Licence", "Citation")


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "tiny"))


def check(card: ModelCard) -> dict:
    """Front matter that survives huggingface_hub's own reading and writing, and every section once."""
    again = ModelCard(str(card))
    data = again.data.to_dict()
    assert data == ModelCardData(**yaml.safe_load(str(card).split("---")[1])).to_dict()
    assert data["library_name"] == "diffusers" and data["license"] and data["pipeline_tag"]
    headings = [line.removeprefix("## ") for line in card.text.splitlines() if line.startswith("## ")]
    assert len(headings) == len(SECTIONS)
    assert all(heading.startswith(start) for heading, start in zip(headings, SECTIONS, strict=True))
    assert "{{" not in str(card) and "{%" not in str(card) and "None" not in card.text
    assert "\n\n\n" not in card.text
    return data


class TestTrained:
    def test_without_records(self, folder):
        card = make_card(folder, "alice/tiny")
        data = check(card)
        assert "model-index" not in data and "No training record" in card.text
        assert "has not been evaluated" in card.text
        assert 'VivFacePipeline.from_pretrained("alice/tiny")' in card.text
        for part in ("generator", "encoder", "transformer", "refinement"):
            assert f"| {part} | `" in card.text

    def test_records(self, folder):
        (folder / "training.json").write_text(json.dumps(TRAINING))
        (folder / "metrics.json").write_text(json.dumps(METRICS))
        card = make_card(folder, "alice/tiny")
        data = check(card)
        assert data["datasets"] == ["alice/heads"]
        (entry,) = data["model-index"]
        assert entry["name"] == "tiny"
        measured = entry["results"][0]
        assert measured["dataset"] == {"name": "Held-out people", "type": "alice/heads"}
        assert [(m["name"], m["value"]) for m in measured["metrics"]] == [("PSNR", 21.5), ("Yaw", 0.93)]
        assert "| PSNR | 21.5 | dB, own motion |" in card.text
        assert "1. name: known truth; steps: 30000; batch: 24" in card.text
        assert "- Glasses are not rendered." in card.text and "40 000 rendered clips" in card.text

    @pytest.mark.parametrize("record", ["training.json", "metrics.json"])
    @pytest.mark.parametrize("content", ["{", "[1]", '{"stages": 3, "metrics": [{"name": "PSNR"}]}'])
    def test_damaged_record(self, folder, record, content):
        (folder / record).write_text(content)
        with pytest.raises(CheckpointError, match=record):
            make_card(folder)

    def test_no_checkpoint(self, tmp_path):
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            make_card(tmp_path)

    def test_networks_of_others(self, folder):
        (folder / "encoder" / "config.json").write_text(json.dumps({"_class_name": "X`\nimport os"}))
        with pytest.raises(CheckpointError, match="expected a network of vivface"):
            make_card(folder)

    def test_command(self, folder, tmp_path):
        (tmp_path / "record.json").write_text(json.dumps(TRAINING))
        command = [
            sys.executable,
            REPOSITORY / "model_card" / "fill.py",
            folder,
            "--training",
            tmp_path / "record.json",
        ]
        subprocess.run(command, check=True, timeout=300)
        assert "Trained on renders" in ModelCard.load(folder / "README.md").text
        assert json.loads((folder / "training.json").read_text()) == TRAINING


class TestConverted:
    @pytest.mark.parametrize("kind", list(ORIGINS))
    def test_names_authors_licence_and_paper(self, folder, kind):
        sources = [{"name": "file.pt", "bytes": 1234567, "sha256": "ab" * 32, "left_out": {"optimizer": "training"}}]
        record = {"converter": kind, "vivface": "0.1.0", "dtype": "float16", "files": sources, "notes": ["a note."]}
        (folder / "conversion.json").write_text(json.dumps(record | {"fresh": {}}))
        if kind != "vivface":
            (folder / "model_index.json").unlink()
        card = make_card(folder, "alice/converted")
        data = check(card)
        origin = ORIGINS[kind]
        for text in (origin.authors, origin.paper, origin.url, origin.license, "ab" * 32, "1,234,567", "a note."):
            assert text in card.text
        assert data["license"] != "other" or (data["license_name"] and data["license_link"])
        assert "vivface did no training" in card.text


class TestBundled:
    def test_the_file_is_what_the_code_makes(self):
        """Made again by `python model_card/fill.py vivface/bundled --name vivface-128`."""
        assert (BUNDLED / "README.md").read_text(encoding="utf-8").strip() == str(make_card(BUNDLED, NAME)).strip()

    def test_that_of_the_face_reader_too(self):
        """Made again by `python model_card/fill.py vivface/bundled/face_state --name face-state-128`."""
        folder = BUNDLED / "face_state"
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert text.strip() == str(make_card(folder, "face-state-128")).strip()
        assert "FaceStateNetwork.from_pretrained()" in text and "must not judge" in text

    def test_tells_of_the_hypernetwork(self):
        text = (BUNDLED / "README.md").read_text(encoding="utf-8")
        section = text.partition("## HyperReenact from the same networks")[2].partition("\n## ")[0]
        assert "--system hyperreenact" in section and "ICCV 2023" in section
        assert "phase 3 (cross re-enactment)" in section and "| yaw correlation |" in section

    def test_pushed_with_snippets_of_the_hub(self):
        text = card_text(BUNDLED, "alice/bundled")
        assert 'VivFacePipeline.from_pretrained("alice/bundled")' in text and "from_pretrained()" not in text

    def test_a_copy_is_no_edited_card(self, tmp_path):
        shutil.copytree(BUNDLED, tmp_path / "copy")
        assert card_text(tmp_path / "copy", "alice/bundled") == card_text(BUNDLED, "alice/bundled")
        (tmp_path / "copy" / "README.md").write_text("My own words about vivface.")
        assert card_text(tmp_path / "copy", "alice/bundled") == "My own words about vivface."


class TestSnippets:
    """Every snippet of a card runs where the card says."""

    @pytest.fixture
    def folder(self, portrait, face_clip, tmp_path) -> Path:
        """Where a reader works: with a portrait and a video of their own."""
        folder = tmp_path / "work"
        folder.mkdir()
        save_image(folder / "portrait.jpg", load_image(portrait))
        shutil.copyfile(face_clip, folder / "driving.mp4")
        return folder

    def run(self, text: str, folder: Path, tmp_path: Path, count: int) -> None:
        runner, found = SnippetRunner(folder, tmp_path / "scratch"), snippets(text)
        assert len(found) == count
        for snippet in found:
            (folder / "out.mp4").unlink(missing_ok=True)
            runner.run(snippet)
            assert (folder / "out.mp4").exists() == ("out.mp4" in snippet.code)
        assert (tmp_path / "scratch" / "installed" / "vivface" / "bundled" / "README.md").is_file()

    @pytest.mark.slow
    def test_bundled(self, folder, tmp_path):
        self.run((BUNDLED / "README.md").read_text(encoding="utf-8"), folder, tmp_path, count=4)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["tiny", 'a "tiny" folder'])
    def test_folder(self, folder, tiny_checkpoint, tmp_path, name):
        shutil.copytree(tiny_checkpoint, folder / name)
        self.run(str(make_card(folder / name)), folder, tmp_path, count=4)

    @pytest.mark.slow
    def test_networks(self, folder, tiny_checkpoint, tmp_path):
        for name in ("encoder", "generator"):
            shutil.copytree(tiny_checkpoint / name, folder / "networks" / name)
        self.run(str(make_card(folder / "networks")), folder, tmp_path, count=2)

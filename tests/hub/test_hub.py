"""Push and load through the real huggingface_hub client, against a local server that speaks the Hub's calls."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.hub.server import Hub
from tests.snippets import SnippetRunner, snippets
from vivface.media import load_image, save_image


@pytest.fixture(scope="module")
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def environment(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process that talks to the local server only."""
    return os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "HF_TOKEN": "hf_local",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # large files by the LFS calls
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(REPOSITORY),
    }


@pytest.fixture(scope="module")
def folder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's folder with files that do not belong to it."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("push") / "tiny"))
    (folder / "optimizer.pt").write_bytes(b"state")
    (folder / ".secret").write_text("token")
    return folder


@pytest.fixture(scope="module")
def said(hub: Hub, environment: dict[str, str], folder: Path) -> dict:
    """What the client's session came to."""
    script = REPOSITORY / "tests" / "hub" / "client.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], env=environment, capture_output=True, text=True, timeout=900
    )
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and results, f"{done.stdout}\n{done.stderr}\n{hub.calls[-10:]}"
    return json.loads(results[0].removeprefix("RESULT "))


class TestPush:
    def test_what_is_uploaded(self, said, hub):
        assert {"README.md", "model_index.json", "pipeline_vivface.py"} <= set(said["files"])
        assert "generator/modeling_stylegan2.py" in said["files"]
        assert said["left"] == ["optimizer.pt"] and ".secret" not in said["files"]
        assert hub.repositories["alice/tiny"].private
        assert "PUT lfs_upload" in hub.calls and "POST commit" in hub.calls

    def test_the_folder_is_not_changed(self, said, folder, tiny_checkpoint):
        ours = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        original = {p.relative_to(tiny_checkpoint): p.read_bytes() for p in tiny_checkpoint.rglob("*") if p.is_file()}
        assert {name for name in ours if name not in original} == {Path("optimizer.pt"), Path(".secret")}
        assert all(ours[name] == content for name, content in original.items())

    def test_pull_request(self, said):
        assert said["pr url"].endswith("/alice/tiny/discussions/1")
        assert said["main after pr"] and said["pr"]

    def test_snapshot_again(self, said):
        assert said["again"]


class TestLoad:
    @pytest.mark.parametrize("way", ["own route", "generic route", "offline", "sharded", "one network", "variant"])
    def test_same_tensors(self, said, way):
        assert said[way] is True

    def test_variant_by_the_generic_route(self, said):
        assert said["variant, generic"] is True

    def test_shards(self, said):
        assert said["shards"] > 1

    def test_revisions(self, said):
        assert said["main after push"] and said["tag"]

    def test_code_runs_only_when_trusted(self, said):
        assert "trust_remote_code" in said["without trust"]

    @pytest.mark.parametrize("what", ["offline, not cached", "no revision", "no repository"])
    def test_refused(self, said, what):
        assert said[what].startswith("CheckpointError: ") and "alice/" in said[what]


class TestCard:
    def test_metadata(self, said):
        card = said["card"]
        assert card["library_name"] == "diffusers" and card["pipeline_tag"] == "image-to-video"
        assert card["license"] == "apache-2.0" and "vivface" in card["tags"]

    def test_every_push_has_one_of_ours(self, said, hub):
        for name in ("alice/tiny", "alice/half", "alice/sharded", "alice/again"):
            repository = hub.repositories[name]
            text = repository.commits[repository.resolve("main")]["README.md"].decode()
            assert "VivFacePipeline" in text and f'from_pretrained("{name}")' in text

    @pytest.mark.slow
    def test_snippets(self, said, hub, environment, portrait, face_clip, tmp_path):
        """What the card of a pushed checkpoint says, as a reader runs it."""
        repository = hub.repositories["alice/tiny"]
        text = repository.commits[repository.resolve("main")]["README.md"].decode()
        folder = tmp_path / "work"
        folder.mkdir()
        save_image(folder / "portrait.jpg", load_image(portrait))
        shutil.copyfile(face_clip, folder / "driving.mp4")
        runner, found = SnippetRunner(folder, tmp_path / "scratch", environment), snippets(text)
        assert len(found) == 4
        for snippet in found:
            (folder / "out.mp4").unlink(missing_ok=True)
            runner.run(snippet)
            assert (folder / "out.mp4").exists() == ("out.mp4" in snippet.code)


class TestRefused:
    def test_without_token(self, said):
        assert said["no token"].startswith("BackendError: 'alice/closed' cannot be pushed")

    def test_missing_folder(self, said):
        assert said["no folder"].startswith("CheckpointError: There is no checkpoint folder")


class TestCommandLine:
    def push(self, environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "vivface.cli", "push", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    def test_push(self, environment, hub, folder):
        done = self.push(environment, folder, "alice/by-command", "--private", "--message", "First")
        assert done.returncode == 0, done.stderr
        assert "alice/by-command" in done.stdout and "optimizer.pt" in done.stderr
        assert hub.repositories["alice/by-command"].private
        assert hub.repositories["alice/by-command"].messages[-1] == "First"

    def test_pull_request(self, environment, hub, folder):
        done = self.push(environment, folder, "alice/by-request", "--create-pr")
        assert done.returncode == 0, done.stderr
        assert "/discussions/1" in done.stdout
        assert (
            "model_index.json"
            not in hub.repositories["alice/by-request"].commits[hub.repositories["alice/by-request"].resolve("main")]
        )

    def test_incomplete_checkpoint(self, environment, hub, folder, tmp_path):
        broken = shutil.copytree(folder, tmp_path / "broken")
        for file in (broken / "encoder").glob("*.safetensors"):
            file.unlink()
        done = self.push(environment, broken, "alice/broken")
        assert done.returncode == 2 and "'encoder'" in done.stderr
        assert "Traceback" not in done.stderr and "alice/broken" not in hub.repositories

    def test_no_hub(self, environment, folder):
        done = self.push(environment | {"HF_ENDPOINT": "http://127.0.0.1:9"}, folder, "alice/tiny")
        assert done.returncode == 2 and "the Hub cannot be reached" in done.stderr and "Traceback" not in done.stderr

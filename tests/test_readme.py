"""The README: its card, its two lines, and every snippet in it, with the bundled checkpoint."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from huggingface_hub import SpaceCardData
from huggingface_hub.repocard import RepoCard

from tests.clips import read_sound_packets, read_times
from tests.snippets import Snippet, SnippetRunner
from vivface.media import VideoReader, VideoWriter

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
INSTALL_AND_RUN = "pip install -e . && vivface reenact examples/portrait.png examples/driving.mp4 -o out.mp4"
INSTALL_AND_TEST = "pip install -e '.[test]' && pytest"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def shell_lines(start: str) -> list[str]:
    """Lines of the shell blocks that begin with `start`, without comments."""
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith(start)]


def tuned_briefly(arguments: list[str]) -> list[str]:
    """The arguments of a command, with two steps of the tuning that it does: likeness is not what is tested here."""
    if arguments[0] == "encode":
        return [*arguments, "--identity-steps", "2"]
    if arguments[0] not in ("reenact", "edit") or arguments[1].endswith("person.safetensors"):
        return arguments
    if "--adapt" not in arguments:  # the photograph is shown without any; other systems tune by default
        return [*arguments, "--adapt", "2"] if {"--no-detail", "--system"} & set(arguments) else arguments
    method = arguments.index("--adapt") + 1
    steps = "2" if arguments[method].isdigit() else f"{arguments[method]}:2"
    return [*arguments[:method], steps, *arguments[method + 1 :]]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, made the working directory; the clip is cut to its first frames."""
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
    clip = tmp_path / "examples" / "driving.mp4"
    with VideoReader(REPOSITORY / "examples" / "driving.mp4", duration=0.3) as reader:
        with VideoWriter(
            clip, reader.size, reader.fps, reader.time_base, audio_from=reader.path, audio_duration=0.3
        ) as writer:
            for frame in reader:
                writer.write(frame.image, frame.time, frame.duration)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestCard:
    def test_front_matter(self):
        card = RepoCard(README)
        data = SpaceCardData(**card.data.to_dict())
        assert (data.sdk, data.python_version, data.app_file) == ("gradio", "3.12", "app.py")
        assert re.fullmatch(r"\d+\.\d+\.\d+", data.sdk_version)
        assert data.license == "apache-2.0" and data.title == "vivface" and data.emoji
        assert {data.colorFrom, data.colorTo} <= {
            *("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
        }
        assert len(data.to_dict()["short_description"]) <= 60
        assert all(isinstance(tag, str) for tag in data.tags)

    def test_links_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)#]+)\)", README):
            assert target.startswith("https://") or (REPOSITORY / target).exists(), target

    def test_presets_exist(self):
        presets = re.findall(r"--preset ([\w-]+)", README)
        assert presets
        for preset in presets:
            assert (REPOSITORY / "training" / "presets" / f"{preset}.yaml").is_file()


class TestTwoLines:
    def test_they_are_there(self):
        lines = [line for block in blocks("bash") for line in block.splitlines()]
        assert INSTALL_AND_RUN in lines and INSTALL_AND_TEST in lines

    def test_first_line_gives_a_video_with_the_timing_and_sound_of_the_clip(self, checkout, run_cli):
        status, out, err = run_cli(*shlex.split(INSTALL_AND_RUN.partition(" && vivface ")[2]))
        assert (status, err.strip()) == (0, "")
        assert read_times(checkout / "out.mp4") == read_times(checkout / "examples/driving.mp4")
        assert read_sound_packets(checkout / "out.mp4") == read_sound_packets(checkout / "examples/driving.mp4")


class TestSnippets:
    def test_shell(self, checkout, run_cli):
        # The lines on the authors' own files are tested with files of their layout, in tests/convert and tests/hub;
        # those for many clips and for other engines in tests/batch and tests/engines.
        foreign = re.compile(r"vivface (convert|push|bench|batch|export)|--checkpoint |--engine ")
        lines = [line for line in shell_lines("vivface ") if not foreign.search(line)]
        assert len(lines) >= 5
        for line in lines:
            status, _, err = run_cli(*tuned_briefly(shlex.split(line)[1:]))
            assert status == 0, (line, err)

    def test_bench(self, run_cli):
        # What `--together`, `--first-frame` and `--workers` do is tested in tests/cli.
        options = {shlex.split(line)[2:3][-1] if "--" in line else "" for line in shell_lines("vivface bench")}
        assert options == {"", "--size", "--together", "--first-frame", "--workers", "--engines"}
        assert run_cli("bench", "--frames", "2")[0] == 0

    @pytest.mark.parametrize("snippet", blocks("python"), ids=lambda snippet: snippet.splitlines()[-1][:40])
    def test_python(self, checkout, tmp_path_factory, snippet):
        runner = SnippetRunner(checkout, tmp_path_factory.mktemp("scratch"))
        runner.run(Snippet("python", snippet))

    def test_the_demo_is_called_as_its_endpoints_are(self):
        """The snippet for `gradio_client` itself runs in tests/space."""
        (snippet,) = blocks("py")
        compile(snippet, "README.md", "exec")
        assert 'api_name="/reenact"' in snippet

    def test_help_lists_the_options_that_the_text_names(self, run_cli):
        help_text = run_cli("reenact", "--help")[1] + run_cli("batch", "--help")[1]
        section = README.split("## Quick start")[1].split("## Web demo")[0]
        named = set(re.findall(r"`(--[a-z-]+)`", section))
        assert len(named) > 5
        assert not [option for option in named - {"--help"} if option not in help_text]

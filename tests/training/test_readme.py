"""The training README: every preset, option and program in it exists."""

import importlib.util
import re

import pytest

from tests.conftest import REPOSITORY
from training.preset import PRESET_FOLDER, parse_options, read_preset
from training.stages import stage_class

TEXT = (REPOSITORY / "training" / "README.md").read_text()
BLOCKS = "".join(re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S))
COMMANDS = re.sub(r"\\\n\s*", "", BLOCKS).splitlines()
TRAINING = [line for line in COMMANDS if "training/train.py" in line]


def test_there_are_commands():
    assert len(TRAINING) >= 9


@pytest.mark.parametrize("command", TRAINING, ids=lambda line: line.partition("--output ")[2].split()[0])
def test_presets_and_changes_are_valid(command):
    name = re.search(r"--preset (\S+)", command)[1]
    changes = [quoted or plain for quoted, plain in re.findall(r'--set (?:"([^"]+)"|(\S+))', command)]
    preset = read_preset(name, changes)
    parse_options(stage_class(preset.stage).options_class, preset.options, "options")


def test_runs_are_made_before_they_are_used():
    made = set()
    for command in TRAINING:
        preset = read_preset(re.search(r"--preset (\S+)", command)[1])
        folders = {options.get("pretrained", "") for options in preset.networks.values()}
        assert {folder for folder in folders if folder.startswith("runs/")} <= made
        made.add(re.search(r"--output (\S+)", command)[1] + "/checkpoint")


def test_programs_and_other_presets_exist():
    assert all(importlib.util.find_spec(name) for name in set(re.findall(r"python -m ([\w.]+)", TEXT)))
    named = set(re.findall(r"`((?:bundled|ffhq|hybrid|tiny)-[\w-]+)`", TEXT))
    assert named and all((PRESET_FOLDER / f"{name}.yaml").is_file() for name in named)

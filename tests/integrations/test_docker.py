"""The Dockerfile: built where docker runs; elsewhere its steps are followed as far as they need no other system."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "integrations" / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def copies() -> list[tuple[list[str], str]]:
    """Sources and target of every COPY."""
    lines = [line.split()[1:] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    return [(words[:-1], words[-1]) for words in lines]


def test_everything_that_is_copied_is_there_and_not_ignored():
    kept = re.findall(r"^!(\S+)$", (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    sources = [name for names, _ in copies() for name in names]
    assert sorted(kept) == sorted(sources)
    assert all((REPOSITORY / name).exists() for name in sources)


def test_the_package_builds_from_what_is_copied_before_it_is_installed(tmp_path: Path):
    before = DOCKERFILE[: DOCKERFILE.index("RUN pip install '.[app]'")]
    for names, target in copies():
        for name in names:
            if f"COPY {' '.join(names)} {target}" not in before:
                continue
            ignored = shutil.ignore_patterns("__pycache__")
            if (REPOSITORY / name).is_dir():
                shutil.copytree(REPOSITORY / name, tmp_path / "app" / target, ignore=ignored)
            else:
                (tmp_path / "app" / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, tmp_path / "app" / target / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", str(tmp_path / "wheels"), str(tmp_path / "app")], check=True)
    (wheel,) = (tmp_path / "wheels").glob("vivface-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "vivface/motions/nod.mp4" in names and "vivface/bundled/model_index.json" in names
    assert "vivface/model_card/template.md" in names


def test_the_program_that_starts_is_copied():
    program = re.search(r'^CMD \["python", "(\S+)"\]$', DOCKERFILE, re.MULTILINE)[1]
    assert program in [name for names, _ in copies() for name in names]
    assert "USER vivface" in DOCKERFILE[: DOCKERFILE.index("CMD")]  # not as root


@pytest.mark.slow
def test_it_builds():
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("needs a docker that runs")
    subprocess.run(["docker", "build", "-q", "-f", str(FOLDER / "Dockerfile"), str(REPOSITORY)], check=True)

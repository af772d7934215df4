"""Run the snippets of a Markdown text as a reader would, one after the other."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
SHELL = ("bash", "sh", "shell", "console")


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its language and its text."""

    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.language}: {self.code.strip().splitlines()[-1][:60]}"


def snippets(markdown: str) -> list[Snippet]:
    """Every fenced block of a Markdown text, in order."""
    return [Snippet(language, code) for language, code in FENCED.findall(markdown)]


class SnippetRunner:
    """Runs snippets in a folder, in processes of their own.

    `vivface` is this repository's command line. `pip install .` and `pip install -e .` build the package of this
    repository and install it into a folder that later snippets import from: nothing of the environment changes.

    Args:
        folder (`Path`): The working directory, with the files that the snippets read.
        scratch (`Path`): An empty folder for programs and installed packages.
        environment (`dict[str, str]`, *optional*): More variables.
    """

    def __init__(self, folder: Path, scratch: Path, environment: Mapping[str, str] | None = None):
        self.folder, self.installed, programs = folder, scratch / "installed", scratch / "bin"
        programs.mkdir(parents=True)
        python = f'exec "{sys.executable}"'
        options = f'--quiet --disable-pip-version-check --no-deps --no-index --target "{self.installed}"'
        commands = {
            "vivface": f'{python} -m vivface.cli.main "$@"',
            "pip": f"""
                [ "$1" = install ] || exit 1
                [ "$2" = -e ] && shift
                cd "{REPOSITORY}"
                {python} -m pip install {options} --no-build-isolation "$2"
                """,
            "python": f'{python} "$@"',
        }
        for name, command in commands.items():
            (programs / name).write_text(f"#!/bin/bash\n{command}\n")
            (programs / name).chmod(0o755)
        self.environment = {**os.environ, **(environment or {})}
        self.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
        self.environment["PYTHONPATH"] = f"{self.installed}:{REPOSITORY}"

    def run(self, snippet: Snippet) -> str:
        """Run one; returns what it printed, and fails the test if it fails."""
        if snippet.language in SHELL:
            command = ["bash", "-e", "-c", snippet.code]
        else:
            assert snippet.language == "python", f"a snippet of {snippet.language or 'no language'}: {snippet.code}"
            command = [sys.executable, "-c", snippet.code]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{snippet.code}\n{done.stdout}\n{done.stderr}"
        return done.stdout

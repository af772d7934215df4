"""The command line, run in this process."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from vivface.cli.main import main


@dataclass
class Outcome:
    status: int
    out: str
    err: str


def run(*arguments: object) -> Outcome:
    """`vivface ARGUMENTS`"""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["vivface", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main()
        sys.exit(0)
    return Outcome(end.value.code or 0, out.getvalue(), err.getvalue())


def convert(kind: str, *arguments: object) -> Outcome:
    """`vivface convert KIND ARGUMENTS`, which has to succeed."""
    outcome = run("convert", kind, *arguments)
    assert outcome.status == 0, outcome.err
    return outcome


def refused(kind: str, *arguments: object, output: Path) -> str:
    """The sentence with which a conversion is refused: status 2, and nothing written beside or in `output`."""
    before = {*output.parent.rglob("*")}
    outcome = run("convert", kind, *arguments, "-o", output)
    assert outcome.status == 2, f"{outcome.status} {outcome.out} {outcome.err}"
    sentence = outcome.err.strip().removeprefix("Error: ")
    assert "\n" not in sentence and sentence.endswith(".") and "Traceback" not in sentence
    assert {*output.parent.rglob("*")} == before
    return sentence

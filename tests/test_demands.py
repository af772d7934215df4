"""docs/demands.md and docs/films.md: the commands are understood, and the tests that they name are there."""

import re
import shlex
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PAGES = {name: (REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("demands.md", "films.md")}


def commands() -> list[str]:
    text = "\n".join(PAGES.values())
    lines = re.findall(r"`(vivface [^`]+)`", text) + re.findall(r"^(vivface [^#\n]+)", text, flags=re.MULTILINE)
    return sorted({line.strip() for line in lines})


@pytest.mark.parametrize("command", [line for line in commands() if "..." not in line])
def test_every_option_exists(run_cli, command):
    words = shlex.split(command)[1:]
    names = [word for word in words if word.startswith("-")]
    path = ["motion", "list" if words[1] == "list" else "save"] if words[0] == "motion" else words[:1]
    status, out, _ = run_cli(*path, "--help")
    assert status == 0 and all(re.search(rf"(^|[\s,]){re.escape(name)}\b", out) for name in names)


def test_twenty_demands_are_answered():
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) \|$", PAGES["demands.md"], flags=re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 21))
    for _, _, answer, held in rows:
        files = re.findall(r"`(tests/[\w/]+\.py)`", held)
        assert files or "not yet" in answer
        assert all((REPOSITORY / file).is_file() for file in files)


def test_links_lead_somewhere():
    for page in PAGES.values():
        for target in re.findall(r"\]\(([^)#]+)\)", page):
            assert (REPOSITORY / "docs" / target).exists()

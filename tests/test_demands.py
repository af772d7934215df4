"""docs/demands.md: each of the twenty demands has a test that holds it; its commands are parsed in test_docs.py."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def test_twenty_demands_are_answered():
    page = (REPOSITORY / "docs" / "demands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) \|$", page, flags=re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 21))
    for _, _, answer, held in rows:
        files = re.findall(r"`(tests/[\w/]+\.py)`", held)
        assert files or "not yet" in answer
        assert all((REPOSITORY / file).is_file() for file in files)

"""Every Markdown page of the repository: its commands are understood, and what it names is there.

The README's commands are run, too: `tests/test_readme.py`.
"""

import importlib.util
import re
import shlex
import subprocess

import pytest
from typer.main import get_command

from tests.conftest import REPOSITORY
from tests.snippets import SHELL, snippets
from vivface.cli.main import app

LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True).stdout.split()
PAGES = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in LISTED if name != "model_card/template.md"}
PAGES = PAGES or {path.name: path.read_text(encoding="utf-8") for path in REPOSITORY.glob("*.md")}


def commands(page: str) -> list[str]:
    """The commands of vivface in a page: lines of shell blocks, and what stands in backticks."""
    blocks = [block.code.replace("\\\n", " ") for block in snippets(page) if block.language in (*SHELL, "")]
    lines = [re.split(r"\s#\s", line)[0].split("&&")[-1].strip() for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    lines += [" ".join(line.split()) for line in re.findall(r"`(vivface [^`]+)`", prose) if " -" in line]
    return sorted({line for line in lines if line.startswith("vivface ") and "..." not in line})


def fault(line: str) -> str | None:
    """What `vivface` would say against a command line; nothing is run."""
    arguments, command = shlex.split(line)[1:], get_command(app)
    while hasattr(command, "commands"):
        if arguments[0] in ("-h", "--help", "--version"):
            return None
        if arguments[0] not in command.commands and "save" in command.commands:  # as `vivface motion` does
            arguments = ["save", *arguments]
        name, *arguments = arguments
        if name not in command.commands:
            return f"there is no command {name}"
        command = command.commands[name]
    if "--help" in arguments:
        return None
    try:
        command.make_context("vivface", list(arguments))
    except Exception as error:  # Typer's own or click's, as the version has it
        assert hasattr(error, "format_message"), error
        short = type(error).__name__ == "MissingParameter" and "-o" not in arguments  # names options, shows no run
        return None if short else str(error)


def test_faults_are_found():
    assert fault("vivface reenact a.png b.mp4 -o c.mp4 --mouth 1.2") is None
    assert fault("vivface motion list") is None and fault("vivface motion a.mp4 -o a.safetensors") is None
    assert "--mouse" in fault("vivface reenact a.png b.mp4 -o c.mp4 --mouse 1.2")
    assert "sideways" in fault("vivface reenact a.png b.mp4 -o c.mp4 --fit sideways")
    assert "no command" in fault("vivface enact a.png")
    assert fault("vivface reenact a.png -o c.mp4")


@pytest.mark.parametrize("page", sorted(PAGES))
def test_commands_are_understood(page):
    faults = {line: fault(line) for line in commands(PAGES[page])}
    assert not {line: said for line, said in faults.items() if said is not None}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page):
    folder = (REPOSITORY / page).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith(("https://", "http://127.0.0.1")):
            continue
        name, _, anchor = target.partition("#")
        path = folder / name if name else REPOSITORY / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, target


@pytest.mark.parametrize("page", sorted(PAGES))
def test_modules_and_files_exist(page):
    text = PAGES[page]
    programs = set(re.findall(r"python -m ((?:training|vivface)[\w.]*)", text))
    missing = [name for name in programs if importlib.util.find_spec(name) is None]
    for name in set(re.findall(r"`((?:vivface|training)(?:\.\w+)+)[`(]", text)):
        if not names_something(name):
            missing.append(name)
    files = set(re.findall(r"`((?:tests|training|vivface|docs|integrations|model_card|examples)/[\w./-]+)`", text))
    missing += [name for name in files if not (REPOSITORY / name).exists()]
    assert not missing


def names_something(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = REPOSITORY.joinpath(*parts[:length])
        if module.with_suffix(".py").is_file() or module.is_dir():
            source = module.with_suffix(".py") if module.with_suffix(".py").is_file() else module / "__init__.py"
            return length == len(parts) or re.search(rf"\b{parts[length]}\b", source.read_text(encoding="utf-8"))
    return False


@pytest.mark.parametrize("page", sorted(PAGES))
def test_python_is_python(page):
    for block in snippets(PAGES[page]):
        if block.language in ("python", "py"):
            compile(block.code, page, "exec")

"""The rooms of the house: imports run one way, importing does nothing, and no module is a hall."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "vivface"
# What each part of the package may import of the others; `vivface.errors` is open to all.
ALLOWED = {
    "errors": set(),
    "files": set(),
    "tensor_files": {"files"},
    "runtime": set(),
    "models": set(),
    "engines": {"files"},
    "faces": {"engines"},
    "warping": {"faces"},
    "media": {"files"},
    "provenance": {"media", "files"},
    "reenactment": {"models", "faces", "warping", "media", "provenance", "files", "tensor_files", "runtime"},
    "editing": {"reenactment", "models", "warping", "tensor_files"},
    "metrics": {"models", "faces", "media"},
    "hub": {"models", "files", "runtime"},
    "pipelines": {
        "engines",
        "hub",
        "editing",
        "reenactment",
        "models",
        "faces",
        "warping",
        "media",
        "runtime",
    },
    "batch": {"pipelines", "hub", "editing", "reenactment", "media", "provenance", "files", "runtime"},
    "convert": {"pipelines", "hub", "editing", "models", "files"},
    "space": {
        "pipelines",
        "hub",
        "editing",
        "reenactment",
        "models",
        "faces",
        "warping",
        "media",
        "provenance",
        "files",
        "runtime",
    },
    "cli": {
        "batch",
        "engines",
        "pipelines",
        "hub",
        "editing",
        "convert",
        "reenactment",
        "models",
        "faces",
        "warping",
        "media",
        "provenance",
        "files",
        "runtime",
        "metrics",
    },
}
LARGEST = 400  # lines of a module


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever it does so, except for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(PACKAGE), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_imports_run_one_way(path: Path):
    own = room(path)
    if own == "__init__":
        return
    names = [name.split(".") for name in imports_of(path) if name.startswith("vivface.")]
    used = {parts[1] for parts in names if (PACKAGE / parts[1]).exists() or (PACKAGE / f"{parts[1]}.py").exists()}
    assert used - {own, "errors"} <= ALLOWED[own]


def test_the_package_never_imports_the_training():
    assert not [path for path in modules(PACKAGE) if any(n.split(".")[0] == "training" for n in imports_of(path))]


def test_no_module_is_a_hall():
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(PACKAGE)}
    sizes |= {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(REPOSITORY / "training")}
    assert {str(path): size for path, size in sizes.items() if size > LARGEST} == {}
    assert len((REPOSITORY / "app.py").read_text(encoding="utf-8").splitlines()) <= 90


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, vivface; sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'diffusers', 'gradio')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_public_names_exist():
    import vivface

    assert all(hasattr(vivface, name) for name in vivface.__all__)

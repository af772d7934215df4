"""The main job as a fresh install runs it: what it opens, and that nothing of it excludes commercial use."""

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from vivface.media import VideoReader

OPTIONAL = (  # what only extras install
    *("dlib", "face_recognition_models", "face_alignment", "lpips", "torchvision", "torch_fidelity", "torchmetrics"),
    *("scipy", "matplotlib", "moderngl", "gradio", "skimage", "pi_heif"),
)
# The command line in a process that notes every file it opens and every place it connects to.
PROGRAM = f"""
import sys
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()
        print("opened", name, file=sys.stderr)
    elif event in ("socket.connect", "socket.getaddrinfo"):
        print("connected", arguments, file=sys.stderr)
sys.addaudithook(note)
for name in {OPTIONAL!r}:
    sys.modules[name] = None  # as if it were not installed
from vivface.cli.main import main
sys.argv = ["vivface", *sys.argv[1:]]
main()
"""
# What holds weights or tables of numbers, whatever its format.
WEIGHTS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".tar", ".pkl", ".pickle", ".npz", ".npy", ".mat", ".h5"),
    *(".dat", ".onnx", ".tflite", ".task", ".xml", ".caffemodel", ".pb", ".mlmodel"),
)


@pytest.fixture(scope="module")
def job(portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """`vivface reenact PORTRAIT CLIP -o OUT` with the bundled checkpoint: its video, and what the process noted."""
    from tests.clips import write_face_clip

    folder = tmp_path_factory.mktemp("job")
    clip = write_face_clip(folder / "clip.mp4", frames=3)
    command = [sys.executable, "-c", PROGRAM, "reenact", str(portrait), str(clip), "-o", str(folder / "out.mp4")]
    done = subprocess.run([*command, "--adapt", "1"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "out.mp4", done.stderr.splitlines()


def opened(lines: list[str]) -> set[Path]:
    names = (line.removeprefix("opened ") for line in lines if line.startswith("opened "))
    return {Path(name) for name in names if name.lower().endswith(WEIGHTS)}


def test_it_runs_without_optional_packages(job):
    assert len(list(VideoReader(job[0]))) == 3


def test_it_connects_to_nothing(job):
    assert [line for line in job[1] if line.startswith("connected")] == []


def test_all_weights_are_of_the_package_and_free(job):
    """Every file is of the package: of the bundled checkpoint, or told in its folder's NOTICE, with its licence."""
    package = Path(str(files("vivface"))).resolve()
    found = {path.resolve() for path in opened(job[1])}
    assert [path for path in found if package not in path.parents] == []
    assert "attention_mesh.safetensors" in {path.name for path in found}

    bundled = package / "bundled"
    assert "\nlicense: apache-2.0\n" in (bundled / "README.md").read_text(encoding="utf-8")
    for path in found:
        if bundled not in path.parents:
            notice = (path.parent / "NOTICE").read_text(encoding="utf-8")
            assert path.name in notice, f"{path} is not told in the NOTICE beside it"
            assert "Apache License, Version 2.0" in notice or "Apache-2.0" in notice or "CC0" in notice
            assert not re.search(r"non-?commercial|300-?W\b", notice, re.IGNORECASE)

"""Drawn people, and a short run of every stage: two steps, and two more after a resume, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.training.people import write_people
from training.data import FrameBatches
from training.ground_truth import IdentityEmbeddings, MotionLabelEncoder
from training.preset import read_preset

STAGES = ("generator", "recognizer", "autodecoder", "encoder", "supervised", "stage1", "hybrid", "stage2")


@dataclass(frozen=True)
class Run:
    """A folder that two processes trained in, and what they printed."""

    folder: Path
    first: subprocess.CompletedProcess
    second: subprocess.CompletedProcess


def train(*arguments: object) -> subprocess.CompletedProcess:
    """`python training/train.py ...` in a process of its own."""
    command = [sys.executable, "training/train.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900)


def preset_of(stage: str, people: Path) -> list[str]:
    """Arguments that choose a stage's toy preset and these people."""
    arguments = ["--preset", f"tiny-{stage}", "--set", f"data.folders=[{people}]"]
    if stage == "encoder":  # continues from an autodecoder's codes
        for name in ("motion_labels", "identity_embeddings"):
            arguments += ["--set", f"networks.{name}.pretrained={people.parent / 'codes'}"]
    return arguments


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six drawn people in two groups; beside it `codes`, those of an untrained autodecoder."""
    folder = write_people(tmp_path_factory.mktemp("drawn") / "people")
    frames = FrameBatches(read_preset("tiny-autodecoder", [f"data.folders=[{folder}]"]).data)
    labels = MotionLabelEncoder(frames.labels().shape[1], motion_codes=10, style_dim=16)
    labels.measure(frames.labels())
    labels.save_pretrained(folder.parent / "codes" / "motion_labels")
    IdentityEmbeddings(frames.seeds(), style_dim=16).save_pretrained(folder.parent / "codes" / "identity_embeddings")
    return folder


@pytest.fixture(scope="session")
def runs(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """Every stage, trained two steps and resumed for the rest; two at a time, in the background."""
    top = tmp_path_factory.mktemp("runs")

    def train_and_resume(stage: str) -> Run:
        arguments = [*preset_of(stage, people), "--output", top / stage, "--log-with", "none"]
        first = train(*arguments, "--max-steps", 2)
        return Run(top / stage, first, train(*arguments, "--resume", "latest"))

    pool = ThreadPoolExecutor(2)
    yield {stage: pool.submit(train_and_resume, stage) for stage in STAGES}
    pool.shutdown(cancel_futures=True)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Presets set the number of threads of the process; put it back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)

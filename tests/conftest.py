"""What several tests share: development media, and a tiny pipeline with random weights."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
MAX_WORKERS = 4  # each holds torch and a few networks, about 1.5 GB


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes share the suite: one for each core; a few files that were asked for run in this one.

    The networks of most tests are so small that several threads only wait for one another.
    """
    if config.args != config.getini("testpaths"):
        return 0
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), MAX_WORKERS)
    if workers < 2:
        return 0
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # before they start, and for the programs that they start
    return workers


class _AtOnce:
    """Says what failed as soon as it has: a run of many processes that is stopped would not tell."""

    def __init__(self, config: pytest.Config):
        self._terminal = config.pluginmanager.get_plugin("terminalreporter")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self._terminal is not None:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"FAILED {report.nodeid} ({report.when})")
            self._terminal.write_line(report.longreprtext[-2000:])


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        config.pluginmanager.register(_AtOnce(config), "at-once")


@pytest.fixture(scope="session", autouse=True)
def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a signing key made for the tests, instead of the user's own."""
    folder = tmp_path_factory.mktemp("keys")
    os.environ["VIVFACE_KEYS"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of development data (media, goldens, assets) that is no part of the repository."""
    folder = Path(os.environ.get("VIVFACE_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the development data of {folder} (set VIVFACE_SHARED to where they are)")
    return folder


@pytest.fixture(scope="session")
def media_dir(shared_dir: Path) -> Path:
    """Development pictures and clips: sources/, driving/, hard/."""
    return shared_dir / "media"


@pytest.fixture(scope="session")
def assets_dir(request: pytest.FixtureRequest) -> Path:
    """The MakeHuman assets: VIVFACE_ASSETS, or of the development data."""
    given = os.environ.get("VIVFACE_ASSETS")
    folder = Path(given) if given else request.getfixturevalue("shared_dir") / "makehuman" / "data"
    if not (folder / "3dobjs" / "base.obj").is_file():
        pytest.skip(f"needs the MakeHuman assets, which {folder} does not hold (set VIVFACE_ASSETS)")
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved tiny pipeline."""
    from tests.tiny import make_tiny_pipeline  # here, as tests of one part need not load all

    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    make_tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_pipeline(tiny_checkpoint: Path):
    """The tiny pipeline, loaded from its folder."""
    from vivface import VivFacePipeline

    pipeline = VivFacePipeline.from_pretrained(tiny_checkpoint)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture with one face."""
    from tests.clips import portrait
    from vivface.media import save_image

    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    save_image(path, portrait())
    return path


@pytest.fixture(scope="session")
def face_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of one face with sound: 21 frames at 25 frames per second."""
    from tests.clips import write_face_clip, write_sound

    folder = tmp_path_factory.mktemp("clip")
    sound = write_sound(folder / "sound.m4a", 0.84)
    return write_face_clip(folder / "clip.mp4", frames=21, sound=sound)


@pytest.fixture(scope="session")
def motion_file(tiny_pipeline, face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The motion of `face_clip`, saved: drives a portrait without tracking the face again."""
    path = tmp_path_factory.mktemp("motion") / "motion.safetensors"
    return tiny_pipeline.encode_motion(face_clip).save(path)


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command line in this process: arguments -> (exit status, stdout, stderr)."""
    from vivface.cli import main as cli

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the process belongs to pytest

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vivface", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return run

"""Files and folders that are complete or not there, whatever happens while they are written."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from vivface import MediaError, OptionError, files
from vivface.files import check_folder, check_output, complete_file, complete_folder, replace_folder


def make(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "a.txt").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text(text)
    return folder


def texts(folder: Path) -> list[str]:
    return sorted(file.read_text() for file in folder.rglob("*.txt"))


ERRORS = (ValueError("no"), OSError("no"), KeyboardInterrupt())
OLD, NEW = ["old", "old"], ["new", "new"]


class TestFile:
    def test_appears_when_complete(self, tmp_path):
        with complete_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
            assert not (tmp_path / "a.txt").exists()
        assert (tmp_path / "a.txt").read_text() == "new" and len(list(tmp_path.iterdir())) == 1

    @pytest.mark.parametrize(
        "error", [ValueError("no"), OSError("no"), KeyboardInterrupt()], ids=lambda e: type(e).__name__
    )
    def test_a_failure_leaves_what_was_there(self, tmp_path, error):
        (tmp_path / "a.txt").write_text("old")
        with pytest.raises(type(error)) as raised, complete_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error
        assert raised.value is error  # as it was: the body knows best what went wrong
        assert texts(tmp_path) == ["old"] and len(list(tmp_path.iterdir())) == 1

    def test_mode_of_a_new_file(self, tmp_path):
        with complete_file(tmp_path / "a.txt"):
            pass
        (tmp_path / "b.txt").touch()
        assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode

    def test_no_folder(self, tmp_path):
        with pytest.raises(MediaError, match="Cannot write"), complete_file(tmp_path / "no" / "a.txt"):
            raise AssertionError("never reached")

    @pytest.mark.parametrize("name", ["a.mp4", "no/a.txt", "folder.txt", "a\0.txt", "a" * 300 + ".txt"])
    def test_refused_before_any_work(self, tmp_path, name):
        (tmp_path / "folder.txt").mkdir()
        with pytest.raises(MediaError, match="Cannot write"):
            check_output(tmp_path / name, (".txt",))


class TestFolder:
    @pytest.fixture(params=["exchange", "two renames"])
    def way(self, request, monkeypatch):
        """With the system's exchange of two names, and as on systems without."""
        if request.param == "two renames":
            monkeypatch.setattr(sys, "platform", "other")

    def test_appears_when_complete(self, tmp_path, way):
        with complete_folder(tmp_path / "out") as temporary:
            (temporary / "a.txt").write_text("new")
            assert not (tmp_path / "out").exists()
        assert texts(tmp_path / "out") == ["new"] and len(list(tmp_path.iterdir())) == 1

    def test_replaces(self, tmp_path, way):
        make(tmp_path / "out", "old")
        with complete_folder(tmp_path / "out", overwrite=True) as temporary:
            (temporary / "a.txt").write_text("new")
            assert texts(tmp_path / "out") == OLD
        assert texts(tmp_path / "out") == ["new"] and len(list(tmp_path.iterdir())) == 1

    def test_an_empty_folder_needs_no_leave(self, tmp_path, way):
        (tmp_path / "out").mkdir()
        with complete_folder(tmp_path / "out") as temporary:
            (temporary / "a.txt").write_text("new")
        assert texts(tmp_path / "out") == ["new"]

    @pytest.mark.parametrize(
        "error", [ValueError("no"), OSError("no"), KeyboardInterrupt()], ids=lambda e: type(e).__name__
    )
    def test_a_failure_leaves_what_was_there(self, tmp_path, error, way):
        make(tmp_path / "out", "old")
        with pytest.raises(type(error)) as raised, complete_folder(tmp_path / "out", overwrite=True) as temporary:
            (temporary / "a.txt").write_text("half")
            raise error
        assert raised.value is error
        assert texts(tmp_path / "out") == OLD and len(list(tmp_path.iterdir())) == 1

    def test_a_failure_of_the_last_rename(self, tmp_path, monkeypatch):
        """What was there comes back."""
        make(tmp_path / "out", "old")
        monkeypatch.setattr(sys, "platform", "other")
        rename = os.rename

        def refuse(source, target):
            if Path(target) == tmp_path / "out" and texts(Path(source)) == ["new"]:
                raise OSError(errno.EACCES, "Permission denied")
            rename(source, target)

        monkeypatch.setattr(os, "rename", refuse)
        with (
            pytest.raises(OptionError, match="Permission denied"),
            complete_folder(tmp_path / "out", True) as temporary,
        ):
            (temporary / "a.txt").write_text("new")
        assert texts(tmp_path / "out") == OLD and len(list(tmp_path.iterdir())) == 1

    def test_there_already(self, tmp_path):
        make(tmp_path / "out", "old")
        with pytest.raises(OptionError, match="--overwrite"), complete_folder(tmp_path / "out"):
            raise AssertionError("never reached")
        assert texts(tmp_path / "out") == OLD

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_file_is_never_replaced(self, tmp_path, overwrite):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(OptionError, match="there already"), complete_folder(tmp_path / "out", overwrite):
            raise AssertionError("never reached")
        assert (tmp_path / "out").read_text() == "mine"

    def test_no_parent(self, tmp_path):
        with pytest.raises(OptionError, match="does not exist"):
            check_folder(tmp_path / "no" / "out")

    def test_a_parent_that_cannot_be_written(self, tmp_path):
        """As a user without rights: root may write everywhere."""
        parent = tmp_path / "parent"
        parent.mkdir(mode=0o555)
        code = f"""
import os
from vivface.files import complete_folder
os.chdir({str(parent)!r})
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    with complete_folder("out"):
        print("reached")
except Exception as error:
    print(type(error).__name__, error)
"""
        done = run(code)
        assert done.stdout == "OptionError Cannot write 'out': Permission denied.\n", done.stderr
        assert list(parent.iterdir()) == []


def run(code: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)


# Kills itself before, or after, call number NUMBER of those that change names or delete
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from vivface import files

number, moment, exchange, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "exchange", Path(sys.argv[4])
calls = 0

def dying(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == number and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if calls == number and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

if not exchange:
    sys.platform = "other"
with files.complete_folder(folder, overwrite=True) as new:
    (new / "a.txt").write_text("new")
    (new / "deep").mkdir()
    (new / "deep" / "b.txt").write_text("new")
    for module, name in ((os, "rename"), (os, "unlink"), (os, "rmdir"), (shutil, "rmtree")):
        setattr(module, name, dying(getattr(module, name)))
"""


class TestKilled:
    """`kill -9` at any moment: the old folder or the new one is whole, in its place or beside it."""

    @pytest.mark.parametrize("way", ["exchange", "two renames"])
    def test_at_every_moment(self, tmp_path, way):
        killed = 0
        for number in range(1, 12):
            for moment in ("before", "after"):
                place = tmp_path / f"{number}-{moment}"
                place.mkdir()
                make(place / "out", "old")
                environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
                command = [sys.executable, "-c", KILLED, str(number), moment, way, str(place / "out")]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
                assert done.returncode in (0, -signal.SIGKILL), done.stderr
                killed += done.returncode != 0
                whole = [texts(folder) for folder in place.iterdir()]
                assert OLD in whole or NEW in whole, (number, moment, whole)
                if way == "exchange":  # never a moment without a folder in its place
                    assert texts(place / "out") in (OLD, NEW), (number, moment)
        assert killed >= 4

    def test_without_a_kill(self, tmp_path):
        make(tmp_path / "out", "old")
        done = run(f"import sys\nsys.argv[1:] = ['99', 'before', 'exchange', {str(tmp_path / 'out')!r}]\n" + KILLED)
        assert done.returncode == 0 and texts(tmp_path / "out") == NEW


class TestReplace:
    @pytest.mark.parametrize("there", [False, True])
    def test_moves(self, tmp_path, there):
        if there:
            make(tmp_path / "out", "old")
        replace_folder(make(tmp_path / "new", "new"), tmp_path / "out")
        assert texts(tmp_path / "out") == NEW and len(list(tmp_path.iterdir())) == 1

    def test_what_is_replaced_stays_if_the_new_one_is_missing(self, tmp_path):
        make(tmp_path / "out", "old")
        with pytest.raises(OSError):
            files.replace_folder(tmp_path / "missing", tmp_path / "out")
        assert texts(tmp_path / "out") == OLD and len(list(tmp_path.iterdir())) == 1

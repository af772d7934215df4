"""The command line: options, errors, exit status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

import vivface
from tests.clips import read_sound_packets, read_times, write_face_clip
from vivface.media import VideoReader


@pytest.fixture
def reenact(run_cli, tiny_checkpoint, portrait, motion_file, tmp_path):
    """Options -> (exit status, stdout, stderr, path of the result); source and driving may be given."""

    def run(*options: object, source: Path = portrait, driving: Path = motion_file, output: Path | None = None):
        output = output or tmp_path / "out.mp4"
        arguments = [source, driving, "-o", output, "--checkpoint", tiny_checkpoint, *options]
        return *run_cli("reenact", *arguments), output

    return run


def assert_refused(status: int, out: str, err: str, *words: str) -> None:
    assert status == 2 and out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err


class TestVersionAndHelp:
    def test_version(self, run_cli):
        assert run_cli("--version") == (0, f"vivface {vivface.__version__}\n", "")

    @pytest.mark.parametrize("command", [("reenact",), ("batch",), ("motion", "save"), ("motion", "loop")])
    def test_help(self, run_cli, command):
        status, out, _ = run_cli(*command, "--help")
        assert status == 0 and "--checkpoint" in out

    def test_help_of_motions(self, run_cli):
        status, out, _ = run_cli("motion", "--help")
        assert status == 0 and all(command in out for command in ("save", "cut", "loop", "join", "keep", "preview"))

    def test_import_is_light(self):
        """Help and version must not wait for torch."""
        code = "import sys, vivface.cli; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0

    def test_public_names(self):
        for name in vivface.__all__:
            assert getattr(vivface, name) is not None
        with pytest.raises(AttributeError):
            vivface.no_such_name  # noqa: B018


class TestReenact:
    def test_defaults(self, reenact, face_clip):
        status, out, err, output = reenact(driving=face_clip)
        assert status == 0 and err.strip() == ""
        assert out.startswith(f"{output}: 21 frames in ") and "frames per second" in out
        assert read_times(output) == read_times(face_clip)
        assert read_sound_packets(output) == read_sound_packets(face_clip)
        assert VideoReader(output).size == (64, 64)

    def test_paste_back(self, reenact):
        assert VideoReader(reenact("--paste-back")[3]).size == (512, 512)

    def test_options_change_the_result(self, reenact, tmp_path):
        def pictures(*options):
            output = reenact(*options, output=tmp_path / f"{len(options)}.mp4")[3]
            return [frame.image.astype(int) for frame in VideoReader(output)]

        plain = pictures()
        for options in (["--no-refine"], ["--motion-mode", "relative"], ["--strength", "0.2"]):
            assert max(abs(a - b).max() for a, b in zip(plain, pictures(*options), strict=True)) > 20
        assert all((a == b).all() for a, b in zip(plain, pictures("--batch-size", "8"), strict=True))

    def test_parts_of_the_motion(self, reenact, tmp_path):
        frames = []
        shown = ["--detail", "--size", 64, "--no-manifest", "--no-mark"]
        for number, options in enumerate(
            ([], ["--mouth", "1.2", "--pose", "0", "--blink-rate", "20", "--eye-contact"])
        ):
            status, _, error, output = reenact(*shown, *options, output=tmp_path / f"{number}.mp4")
            assert status == 0, error
            with VideoReader(output) as reader:
                frames.append([frame.image for frame in reader])
        assert len(frames[0]) == len(frames[1]) == 21
        assert abs(frames[0][-1].astype(int) - frames[1][-1]).mean() > 0.5

    def test_side_by_side_and_part(self, reenact, face_clip):
        status, _, _, output = reenact("--side-by-side", "--start", "0.2", "--duration", "0.2", driving=face_clip)
        assert status == 0
        assert VideoReader(output).size == (576, 192) and len(read_times(output)) == 5

    def test_save_motion_then_use_it(self, reenact, run_cli, face_clip, tiny_checkpoint, motion_file, tmp_path):
        saved = tmp_path / "saved.safetensors"
        assert reenact("--save-motion", saved, driving=face_clip)[0] == 0
        assert saved.read_bytes()[-1000:] == motion_file.read_bytes()[-1000:]
        status, out, _, output = reenact(driving=saved)
        assert status == 0 and len(read_times(output)) == 21

    def test_motion_command(self, run_cli, face_clip, tiny_checkpoint, motion_file, tmp_path):
        saved = tmp_path / "saved.safetensors"
        status, out, err = run_cli("motion", face_clip, "-o", saved, "--checkpoint", tiny_checkpoint)
        assert status == 0 and str(saved) in out
        assert saved.read_bytes() == motion_file.read_bytes()

    def test_names_with_spaces_and_letters(self, reenact, portrait, motion_file, tmp_path):
        folder = tmp_path / "été [1] 顔"
        folder.mkdir()
        source = folder / "my portrait.png"
        source.write_bytes(portrait.read_bytes())
        status, out, _, output = reenact(source=source, output=folder / "result [2].mp4")
        assert status == 0 and output.exists() and str(output) in out

    def test_no_overwrite(self, reenact):
        assert reenact()[0] == 0
        status, out, err, output = reenact("--no-overwrite")
        assert_refused(status, out, err, "is there already")
        assert reenact()[0] == 0


class TestRefused:
    def test_no_such_source(self, reenact, tmp_path):
        *result, output = reenact(source=tmp_path / "nobody.png")
        assert_refused(*result, "nobody.png")
        assert not output.exists()

    def test_no_such_driving_video(self, reenact, tmp_path):
        assert_refused(*reenact(driving=tmp_path / "nothing.mp4")[:3], "nothing.mp4")

    def test_swapped_arguments(self, reenact, portrait, face_clip):
        assert_refused(*reenact(source=face_clip, driving=portrait)[:3], portrait.name, "a video is needed")

    def test_picture_as_driving_video(self, reenact, portrait):
        assert_refused(*reenact(driving=portrait)[:3], "still image")

    def test_output_folder_is_missing(self, reenact, tmp_path):
        assert_refused(*reenact(output=tmp_path / "no" / "out.mp4")[:3], "does not exist")

    def test_output_of_another_kind(self, reenact, tmp_path):
        assert_refused(*reenact(output=tmp_path / "out.txt")[:3], ".mp4")

    def test_output_is_the_driving_video(self, reenact, face_clip):
        before = face_clip.read_bytes()
        assert_refused(*reenact(driving=face_clip, output=face_clip)[:3], "another name")
        assert face_clip.read_bytes() == before

    @pytest.mark.parametrize(
        "options",
        [
            ["--motion-mode", "sideways"],
            ["--strength", "-1"],
            ["--strength", "nan"],
            ["--batch-size", "0"],
            ["--face", "-1"],
            ["--face", "7"],
            ["--adapt", "-3"],
            ["--mouth", "-1"],
            ["--pose", "nan"],
            ["--pose", "sideways"],
            ["--blink-rate", "1000"],
            ["--device", "toaster"],
            ["--device", "cuda:99"],
            ["--detector", "eyes"],
            ["--no-such-option"],
        ],
        ids=" ".join,
    )
    def test_option(self, reenact, options):
        *result, output = reenact(*options)
        assert_refused(*result)
        assert not output.exists()

    def test_checkpoint(self, reenact, tmp_path):
        assert_refused(*reenact("--checkpoint", tmp_path)[:3], "model_index.json")

    def test_side_by_side_of_a_motion_file(self, reenact):
        assert_refused(*reenact("--side-by-side")[:3], "motion file")

    def test_command_line_without_arguments(self, run_cli):
        assert run_cli("reenact")[0] == 2


class TestProcess:
    """As users start it: a process of its own."""

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "vivface.cli", *map(str, arguments)]

    def test_error_is_one_sentence(self, tmp_path, tiny_checkpoint, motion_file):
        arguments = [tmp_path / "nobody.png", motion_file, "-o", tmp_path / "out.mp4", "--checkpoint", tiny_checkpoint]
        done = subprocess.run(self.command("reenact", *arguments), capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("Error: ") and len(done.stderr.strip().splitlines()) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
    def test_stopped_in_the_middle_leaves_nothing(self, tmp_path, tiny_checkpoint, portrait, signal_):
        clip = write_face_clip(tmp_path / "clip.mp4", frames=400)
        folder = tmp_path / "result"
        folder.mkdir()
        arguments = [portrait, clip, "-o", folder / "out.mp4", "--checkpoint", tiny_checkpoint]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            self.command("reenact", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        )
        while process.poll() is None and not any(path.stat().st_size > 0 for path in folder.iterdir()):
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it could be stopped"
        process.send_signal(signal_)
        out, err = process.communicate(timeout=120)
        assert process.returncode not in (0, 1)
        assert b"Traceback" not in err
        assert list(folder.iterdir()) == []


def test_readable_in_a_browser(reenact):
    """The index stands before the data, so that players start at once."""
    data = reenact()[3].read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(str(reenact()[3])) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"

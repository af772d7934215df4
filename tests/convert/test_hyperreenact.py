"""`vivface convert hyperreenact`: five files become a pipeline; the large one without needing its size twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from tests.convert.command import convert, refused
from tests.convert.layouts import cheap
from tests.parity.compare import IMAGE, assert_close, assert_matches
from vivface import HyperReenactPipeline
from vivface.models import PoseEncoder

FILES = ("hypernetwork.pt", "generator.pt", "inversion.pt", "appearance.pth", "deca_model.tar")
PARTS = ("hypernetwork", "generator", "inversion", "appearance", "pose")

# Converts, and prints the most anonymous memory that the process ever held; mapped files are no part of it
CHILD = """
import json, sys, threading, time
from vivface.cli.main import main

most = 0
def watch():
    global most
    while True:
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        most = max(most, int(status["RssAnon"].split()[0]) * 1024)
        time.sleep(0.01)

threading.Thread(target=watch, daemon=True).start()
sys.argv = ["vivface", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps({"peak": most}))
"""


def deca(pose: dict[str, torch.Tensor]) -> dict:
    """DECA's checkpoint around its ResNet-50."""
    flame = {f"encoder.{name}": tensor for name, tensor in pose.items()}
    sizes = {"0.weight": (1024, 2048), "0.bias": (1024,), "2.weight": (236, 1024), "2.bias": (236,)}
    flame |= {f"layers.{name}": torch.zeros(()).expand(size) for name, size in sizes.items()}
    return {"E_flame": flame, "E_detail": {"encoder.conv1.weight": torch.zeros(1)}, "D_detail": {"a": torch.zeros(1)}}


def zeros(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.zeros((), dtype=t.dtype).expand(t.shape) for name, t in network.state_dict().items()}


def arguments(folder: Path, **other: Path) -> list[object]:
    """The command's files, those of `folder` unless others are given."""
    files = dict(zip(PARTS, (folder / file for file in FILES), strict=True)) | other
    return [files["hypernetwork"], *(word for part in PARTS[1:] for word in (f"--{part}", files[part]))]


@pytest.fixture(scope="module")
def cheap_files(parity_dir, tmp_path_factory):
    """The five files with zeros, at almost no cost."""
    folder = tmp_path_factory.mktemp("cheap")
    hypernetwork = cheap(parity_dir / "hyperreenact/manifest_hypernet.json")
    torch.save(hypernetwork, folder / FILES[0])
    torch.save(cheap(parity_dir / "hyperreenact/manifest_generator.json"), folder / FILES[1])
    torch.save(cheap(parity_dir / "hyperreenact/layout_e4e.json"), folder / FILES[2])
    torch.save(cheap(parity_dir / "arcface/manifest.json"), folder / FILES[3])
    with torch.device("meta"):
        pose = PoseEncoder()
    torch.save(deca(zeros(pose)), folder / FILES[4])
    return folder


@pytest.fixture(scope="module")
def converted(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hyperreenact")
    torch.save(checkpoint("hyperreenact/manifest_hypernet.json"), folder / FILES[0])
    torch.save(checkpoint("hyperreenact/manifest_generator.json"), folder / FILES[1])
    torch.save(checkpoint("hyperreenact/layout_e4e.json"), folder / FILES[2])
    torch.save(checkpoint("arcface/manifest.json"), folder / FILES[3])
    torch.manual_seed(0)
    torch.save(deca(PoseEncoder().state_dict()), folder / FILES[4])
    command = ["convert", "hyperreenact", *arguments(folder), "-o", folder / "pipeline", "--verify"]
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size = (folder / FILES[0]).stat().st_size
    for file in FILES:
        (folder / file).unlink(missing_ok=True)
    return folder / "pipeline", done.stdout, size


@pytest.fixture(scope="module")
def pipeline(converted):
    return HyperReenactPipeline.from_pretrained(converted[0])


@pytest.mark.slow
class TestWithWeights:
    """Weights in the published layouts: 2.4 GB."""

    def test_memory_is_not_doubled(self, converted):
        """Beside the interpreter and its libraries (0.5 GB), less than twice the largest file."""
        peak = json.loads(converted[1].splitlines()[-1])["peak"]
        assert converted[2] > 1.2e9
        assert peak < 0.5e9 + 1.5 * converted[2]

    @torch.no_grad()
    def test_goldens(self, pipeline, golden):
        stored = golden("hyperreenact/golden.npz")
        pipeline.generator.latent_avg = stored["trunc"][0]
        offsets = pipeline.hypernetwork(stored["f_app"], stored["f_pose"])
        for position in (0, 9, 11, 18):
            assert_close(offsets[position][0, :48, :48], stored[f"offset_{position}_first48"], IMAGE)
        codes = pipeline.generator.truncate(stored["codes"], pipeline.config.truncation)
        assert_matches(pipeline.generator(codes, offsets=offsets), stored, "image")

    def test_pose_encoder_is_the_files(self, pipeline):
        torch.manual_seed(0)
        expected = PoseEncoder().state_dict()
        assert all(torch.equal(t, expected[name]) for name, t in pipeline.pose.state_dict().items())

    def test_settings(self, pipeline):
        named = ("image_size", "crop", "pose_crop", "truncation", "adapt_steps")
        settings = {name: pipeline.config[name] for name in named}
        assert list(settings.values()) == [256, "voxceleb", "deca", 0.7, 0]
        assert (pipeline.inversion.latent_avg == 0).all() and pipeline.inversion.config.motion_codes == 0

    def test_account_of_the_files(self, converted):
        out = " ".join(converted[1].split())  # lines end where the console does
        assert "(hyperreenact, verified)" in out
        assert " 28 " in next(line for line in out.splitlines() if "ReenactmentHypernetwork" in line)
        for name in ("E_detail", "D_detail", "E_flame/layers.*"):
            assert f"Left out of deca_model.tar: {name} (" in out

    def test_card(self, converted):
        card = ModelCard.load(converted[0] / "README.md")
        assert card.data.pipeline_tag == "image-to-video" and card.data.license == "other"
        assert "Bounareli" in card.text and "ICCV 2023" in card.text and "DECA" in card.text


@pytest.mark.slow
class TestRefused:
    def test_shared_matrices_that_differ(self, cheap_files, tmp_path):
        content = torch.load(cheap_files / FILES[0])
        content["state_dict"]["hypernet.refinement_blocks.5.hypernet.b1"] = torch.ones(512)
        torch.save(content, tmp_path / "other.pt")
        given = arguments(cheap_files, hypernetwork=tmp_path / "other.pt")
        sentence = refused("hyperreenact", *given, output=tmp_path / "out")
        assert "refinement_blocks.5.hypernet.b1" in sentence and "should be one tensor" in sentence

    @pytest.mark.parametrize(
        ("part", "change", "words"),
        [
            ("hypernetwork", {"hypernet.conv_transf.weight": None}, "lacks conv_transf.weight"),
            ("hypernetwork", {"hypernet.extra.weight": torch.zeros(1)}, "has extra.weight"),
            ("hypernetwork", {"decoder.conv1.weight": torch.zeros(1)}, "expected only entries of a hypernetwork"),
            ("hypernetwork", {"hypernet.refinement_blocks.5.hypernet.w1": None}, "refinement_blocks.5.hypernet.w1"),
            ("pose", {"encoder.layer1.0.conv1.weight": None}, "lacks layer1.0.conv1.weight"),
            ("pose", {"decoder.weight": torch.zeros(1)}, "ResNet-50"),
            ("inversion", {"styles.13.linear.weight": None}, "13 latents"),
        ],
    )
    def test_every_key_is_accounted_for(self, cheap_files, tmp_path, part, change, words):
        content = torch.load(cheap_files / FILES[PARTS.index(part)])
        entries = content[{"hypernetwork": "state_dict", "pose": "E_flame", "inversion": "e"}[part]]
        for name, tensor in change.items():
            if tensor is None:
                del entries[name]
            else:
                entries[name] = tensor
        torch.save(content, tmp_path / "other.pt")
        given = arguments(cheap_files, **{part: tmp_path / "other.pt"})
        assert words in refused("hyperreenact", *given, output=tmp_path / "out")

    def test_files_in_the_wrong_order(self, cheap_files, tmp_path):
        given = arguments(cheap_files, pose=cheap_files / FILES[2])
        assert "a DECA checkpoint" in refused("hyperreenact", *given, output=tmp_path / "out")

    def test_a_file_that_would_run_code(self, cheap_files, tmp_path):
        torch.save({"state_dict": {"hypernet.x": torch.zeros(1)}, "opts": Path("x")}, tmp_path / "bad.pt")
        given = arguments(cheap_files, hypernetwork=tmp_path / "bad.pt")
        assert "is refused" in refused("hyperreenact", *given, output=tmp_path / "out")

    def test_a_generator_of_other_channels(self, cheap_files, parity_dir, tmp_path):
        torch.save(cheap(parity_dir / "stylegan2/manifest_256.json"), tmp_path / "wide.pt")
        given = arguments(cheap_files, generator=tmp_path / "wide.pt")
        assert "refinement_blocks" in refused("hyperreenact", *given, output=tmp_path / "out")


@pytest.mark.slow
def test_half_precision(cheap_files, tmp_path):
    convert("hyperreenact", *arguments(cheap_files), "-o", tmp_path / "out", "--dtype", "float16", "--verify")
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert [index[part][1] for part in PARTS] == [
        "ReenactmentHypernetwork",
        "StyleGAN2Generator",
        "HybridEncoder",
        "IdentityNetwork",
        "PoseEncoder",
    ]
    total = sum(file.stat().st_size for file in (tmp_path / "out").rglob("*.safetensors"))
    assert total < 1.25e9

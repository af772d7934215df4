"""Disturbances of stage II: directions of the project's own files, hair edits by text, the random shift."""

import pytest
import torch
from safetensors.torch import save_file

from training.disturbances import Disturbance, Disturbances
from vivface.editing.directions import DIRECTIONS_FILE, AttributeDirections, Direction
from vivface.errors import OptionError
from vivface.models import StyleGAN2Generator
from vivface.models.hair_mapper import HairMapper

GENERATOR = StyleGAN2Generator(8, style_dim=4, mapping_layers=1, channels=[4, 4], motion_codes=2)  # W+ of 4 x 4
LONG, SHORT = torch.eye(4), 2 * torch.eye(4).flip(0)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def file(tmp_path):
    directions = [Direction("age", "Age", "w_plus", LONG), Direction("smile", "Smile", "motion", torch.ones(2, 4))]
    directions += [Direction("hair_short", "Short hair", "w_plus", SHORT)]
    return str(AttributeDirections(directions).save(tmp_path / DIRECTIONS_FILE))


@pytest.fixture
def mapper(tmp_path):
    HairMapper((1, 1, 2), style_dim=4, text_dim=3, depth=2).save_pretrained(tmp_path / "mapper")
    save_file(
        {"bob cut": torch.tensor([1.0, 0.0, 0.0]), "afro": torch.tensor([0.0, 1.0, 0.0])}, tmp_path / "t.safetensors"
    )
    return {"mapper": str(tmp_path / "mapper"), "texts": str(tmp_path / "t.safetensors")}


def make(shift: float = 0.0, **given) -> Disturbances:
    return Disturbances({name: Disturbance(**options) for name, options in given.items()}, shift, GENERATOR)


def test_steps_have_the_asked_length_and_go_both_ways(file):
    steps = make(age={"file": file, "share": 1.0})(torch.zeros(60, 4, 4))
    lengths = steps.diagonal(dim1=1, dim2=2)
    assert torch.equal(steps, torch.diag_embed(lengths)) and (lengths == lengths[:, :1]).all()
    assert (lengths.abs() >= 1).all() and (lengths.abs() <= 2.5).all() and lengths.abs().std() > 0.2
    assert (lengths > 0).any() and (lengths < 0).any()


def test_names_are_drawn_from_and_a_checkpoint_is_a_place(file, tmp_path):
    options = {"file": str(tmp_path), "names": ["age", "hair_short"], "low": 1.0, "high": 1.0, "both_ways": False}
    steps = make(hair={**options, "share": 1.0})(torch.zeros(30, 4, 4))
    assert {tuple(step.flatten().tolist()) for step in steps} == {tuple(v.flatten().tolist()) for v in (LONG, SHORT)}


def test_shares(file):
    steps = make(0.1, age={"file": file, "share": 0.25})(torch.zeros(400, 4, 4))
    norms = steps.norm(dim=2)
    edited = (norms > 0.5).all(1)
    assert 70 < edited.sum() < 130
    shifts = steps[~edited]
    assert (shifts == shifts[:, :1]).all()  # one vector for all layers
    assert norms[~edited].max() <= 0.1 and norms[~edited].max() > 0.09


def test_hair_edit_is_a_share_of_what_the_mapper_gives(mapper, tmp_path):
    codes = torch.randn(20, 4, 4)
    options = {**mapper, "share": 1.0, "low": 0.1, "high": 0.1, "both_ways": False}
    steps = make(hair=options)(codes)
    network = HairMapper.from_pretrained(tmp_path / "mapper").eval()
    texts = torch.eye(3)[:2]
    with torch.no_grad():
        possible = torch.stack([0.1 * network(codes, text.expand(20, 3)) for text in texts])
    near = (possible - steps).abs().amax(dim=(2, 3)) < 1e-6
    assert near.any(0).all() and near.any(1).all()  # each is one of the two, and both occur
    only = make(hair={**options, "names": ["afro"]})(codes)
    torch.testing.assert_close(only, possible[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "nowhere.safetensors"}, "does not exist"),
        ({"names": ["beard"]}, "no direction 'beard' in W\\+, expected one of: age, hair_short"),
        ({"names": ["smile"]}, "no direction 'smile'"),
        ({"share": 1.5}, "add up to 1.5"),
        ({"texts": "t.safetensors"}, "is for a hair mapper"),
        ({"mapper": "nowhere"}, "both a file and a mapper"),
        ({"mapper": "nowhere", "file": ""}, "no folder"),
    ],
)
def test_refused(options, message, file):
    with pytest.raises(OptionError, match=message):
        make(age={"file": file, **options})


def test_what_does_not_fit_is_refused(mapper, tmp_path):
    AttributeDirections([Direction("age", "Age", "w_plus", torch.ones(18, 4))]).save(tmp_path / "big.safetensors")
    with pytest.raises(OptionError, match=r"shape \(18, 4\), expected \(4, 4\)"):
        make(age={"file": str(tmp_path / "big.safetensors")})
    with pytest.raises(OptionError, match="no text 'quiff', it has: afro, bob cut"):
        make(hair={**mapper, "names": ["quiff"]})
    with pytest.raises(OptionError, match="cannot be read"):
        make(hair={**mapper, "texts": str(tmp_path / "none.safetensors")})
    HairMapper((1, 1, 1), style_dim=4, text_dim=3, depth=1).save_pretrained(tmp_path / "small")
    with pytest.raises(OptionError, match="for codes of 3 x 4, expected 4 x 4"):
        make(hair={**mapper, "mapper": str(tmp_path / "small")})

"""Expressions and parts of the motion, for programs that call the page."""

from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.space.conftest import Server
from vivface.errors import OptionError
from vivface.provenance import verify
from vivface.space.options import PART_OPTIONS, Options
from vivface.space.service import new_visitor
from vivface.warping.controls import CONTROLS
from vivface.warping.parts import Parts


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Client:
    return Client(server.url, verbose=False, download_files=str(tmp_path), httpx_kwargs={"timeout": 120})


class TestExpressions:
    def test_they_are_listed(self, client):
        listed = client.predict(api_name="/list_expressions")
        assert [item["name"] for item in listed] == list(CONTROLS) and all(item["help"] for item in listed)

    def test_a_portrait_wears_one(self, client, uploaded):
        still, moved = (
            client.predict(handle_file(str(uploaded)), True, values, api_name="/express_portrait")
            for values in ({}, {"mouth_open": 0.8, "yaw": 10})
        )
        images = [np.asarray(Image.open(path).convert("RGB"), np.float32) for path in (still, moved)]
        assert images[0].shape == images[1].shape == (512, 512, 3)
        assert np.abs(images[0] - images[1]).mean() > 2
        assert verify(moved).to_dict()["verdict"] == "synthetic"

    def test_consent_and_ranges(self, client, uploaded):
        path = handle_file(str(uploaded))
        with pytest.raises(AppError, match="consent"):
            client.predict(path, False, {"smile": 1}, api_name="/express_portrait")
        with pytest.raises(AppError, match="`smile` is 3"):
            client.predict(path, True, {"smile": 3}, api_name="/express_portrait")

    def test_the_photograph_is_prepared_once(self, server, uploaded):
        service, visitor = server.demo.service, new_visitor()
        portrait = service.admit(str(uploaded), True)
        first, second = (service.expressive_photo(visitor, portrait, 0, False) for _ in range(2))
        assert first is second and first.nbytes > 1_000_000
        service.forget(visitor)


class TestParts:
    def test_options_are_parts(self):
        options = Options.of({"pose": 0, "mouth": 1.5, "eye_contact": True, "blink_rate": 20})
        assert options.parts == Parts(mouth=1.5, pose=0.0, eye_contact=True, blink_rate=20.0)
        assert not Options().parts.changes and set(PART_OPTIONS) < {*vars(Options())}

    def test_live_refuses_them_for_the_generators_images(self, server, uploaded):
        service, visitor = server.demo.service, new_visitor()
        portrait = service.admit(str(uploaded), True)
        with pytest.raises(OptionError, match="photograph itself"):
            service.live(visitor, portrait, 0, {}, False, "absolute", Parts(mouth=2.0))
        service.forget(visitor)

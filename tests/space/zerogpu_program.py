"""The page under the real package `spaces` with ZeroGPU switched on, run by test_zerogpu.py as a program of its own.

What lends GPUs on Spaces is stood in for by a small server that answers as it does; in the forked worker the two calls
that need the hardware (waking the GPU, moving weights to it) do nothing, so networks run on the CPU there.
"""

import faulthandler
import json
import multiprocessing
import os
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from tests.processes import free_port

SECONDS = 240  # all of it takes 30 s on two quiet cores
CALLS: list[tuple[str, dict]] = []


class DeviceApi(BaseHTTPRequestHandler):
    """Answers `/startup-report`, `/schedule`, `/allow` and `/release`."""

    def do_POST(self) -> None:
        url = urlparse(self.path)
        CALLS.append((url.path, {name: values[0] for name, values in parse_qs(url.query).items()}))
        token = str(len(CALLS))
        answer = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "", "allowToken": token}
        body = json.dumps(answer if url.path == "/schedule" else {}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Be quiet."""


def count(path: str) -> int:
    return sum(called == path for called, _ in CALLS)


def wait_until(condition, seconds: float = 90) -> float:
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError
        time.sleep(0.05)
    return time.monotonic() - began


def main() -> None:
    faulthandler.dump_traceback_later(SECONDS, exit=True)  # says where it hangs
    checkpoint, portrait, clip, long_clip, empty_clip, downloads = map(Path, sys.argv[1:])
    api = ThreadingHTTPServer(("127.0.0.1", 0), DeviceApi)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    os.environ["SPACES_ZERO_GPU"] = "true"
    os.environ["SPACES_ZERO_DEVICE_API_URL"] = f"http://127.0.0.1:{api.server_port}"

    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    import app

    demo = app.create_demo(checkpoint, device="cpu")
    import spaces.zero.torch as hardware

    hardware.init, hardware.move = (lambda *_, **__: None), (lambda *_, **__: None)
    service = demo.service
    service.pipeline.register_to_config(adapt_steps=14)
    address = {"server_name": "127.0.0.1", "server_port": free_port()}
    demo.launch(prevent_thread_lock=True, quiet=True, **address, **app.launch_options())
    client = Client(demo.local_url, verbose=False, download_files=str(downloads), httpx_kwargs={"timeout": 120})
    face, video = handle_file(str(portrait)), handle_file(str(clip))
    found = {"started": count("/startup-report")}

    # 1. Two runs: the second does not tune to the portrait again.
    path, _, motion, line = client.predict(face, video, consent=True, api_name="/reenact")
    found |= {"line": line, "video": path, "motion": motion, "lent_first": count("/schedule")}
    found["line_again"] = client.predict(face, video, consent=True, api_name="/reenact")[3]
    found["lent_again"] = count("/schedule") - found["lent_first"]
    found["seconds"] = [int(query["durationSeconds"]) for called, query in CALLS if called == "/schedule"]

    # 2. Other functions, and errors of users.
    found["still"] = client.predict(face, True, edits={}, api_name="/edit_portrait")
    found["extracted"] = client.predict(video, api_name="/extract_motion")[1]
    try:
        client.predict(face, handle_file(str(empty_clip)), consent=True, api_name="/reenact")
    except AppError as error:
        found["error"] = str(error)

    # 3. Stopping reaches the worker.
    run = client.submit(face, handle_file(str(long_clip)), consent=True, api_name="/reenact")
    wait_until(lambda: any("Making frames" in update[3] for update in run.outputs()))
    run.cancel()
    found["stopped"] = wait_until(lambda: len(service.queue) == 0)
    found["released"] = count("/release") == count("/schedule")

    # 4. Live is not offered.
    ids = {component["props"].get("elem_id") for component in demo.config["components"]}
    found["live"] = sorted(ids & {"camera", "no-live"})
    print("FOUND " + json.dumps(found), flush=True)


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
    for worker in multiprocessing.active_children():  # they wait for more work, and hold what this program prints to
        worker.kill()
    sys.stderr.flush()
    os._exit(0)

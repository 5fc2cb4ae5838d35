"""The whole API against its own OpenAPI document, with every check of schemathesis, over a real socket."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from dual_update.core.job import Ending
from tests.edges.web.conftest import TOKEN, MakeWeb, Web
from tests.integration.world import free_port

EXAMPLES = 20
"""For each operation in the fuzzing phase; the coverage phase has what its parameters need besides."""


@pytest.fixture
def listening(make_web: MakeWeb) -> Iterator[Web]:
    port = free_port()
    web = make_web(port=port)
    web.stage.processes.always = Ending(0, "It is done.")
    for number in range(3):
        web.stage.ran(f"20260101T00000{number}Z-{number:012x}")
    config = uvicorn.Config(web.app, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            if web.service.status()["queued"]:
                web.service.turn()
            time.sleep(0.05)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    yield web
    is_over.set()
    worker.join(timeout=10)
    server.should_exit = True
    thread.join(timeout=10)


@pytest.mark.timeout(200)
def test_nothing_is_found(listening: Web, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    url = f"http://127.0.0.1:{listening.app.state.settings.port}"
    command = [
        str(program), "run", f"{url}/api/openapi.json", "--checks", "all", "--mode", "all",
        "--max-examples", str(EXAMPLES), "--seed", "7", "--workers", "1", "--no-color",
        "--header", f"Authorization: Bearer {TOKEN}", "--request-timeout", "10",
        "--suppress-health-check", "all",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert "Stateful" in done.stdout
    assert not [line for line in listening.stage.lines if line[0] == "bug"]

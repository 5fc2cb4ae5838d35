"""`~` and `$PWD` in a compose file, on a real engine: what stands for them in a model is this host's here."""

import json
import os
from pathlib import Path

import pytest

from tests.integration.world import Images, World

FAST = "health: {settle_seconds: 1, deadline_seconds: 15}\n"


@pytest.mark.parametrize(
    "fields",
    [
        "volumes: ['~/.dual-update-test:/data'], environment: {HERE: '${PWD}', CONF: '-c ${HOME}/conf'}",
        "volumes: ['${PWD}/conf:/conf'], labels: {here: '${PWD}/b'}, env_file: '${PWD}/web.env'",
    ],
)
def test_such_a_cluster_is_updated(
    world: World, images: Images, fields: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = world.folder / "home"
    home.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker"))
    monkeypatch.setenv("HOME", str(home))
    text = f'services: {{web: {{image: "%s", {fields}}}}}\n'
    cluster = world.repo(
        {
            "web.env": "A=1\n",
            "conf/a": "1",
            ".github/dual-update.yml": FAST,
        }
    )
    for number in (1, 2):
        head = cluster.commit({"compose.yml": text % images.push(f"web:{number}", str(number)).ref})
        done = cluster.dual_update("apply", "--auto", "--format", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert (report["outcome"], report["to"]) == ("succeeded", head)
    again = json.loads(cluster.dual_update("apply", "--auto", "--format", "json").stdout)
    assert again["outcome"] == "unchanged"

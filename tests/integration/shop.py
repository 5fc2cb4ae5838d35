"""One deployed cluster that many cases share: wanted commits beside it, strangers around it."""

import copy
import json
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dual_update.core.errors import DualUpdateError
from dual_update.edges.cli import program
from tests.conftest import missing
from tests.integration.world import Cluster, Images, World

Model = dict[str, Any]


@dataclass
class Shop:
    """A deployed cluster of two services and a submodule; `stack` undoes what a case arranges."""

    world: World
    cluster: Cluster
    images: Images
    port: int
    state: Path
    model: Model
    good: str = ""
    stack: ExitStack = field(default_factory=ExitStack)
    arguments: list[str] = field(default_factory=list)

    def wants(
        self,
        web: Model | None = None,
        *,
        top: Model | None = None,
        files: Mapping[str, str] | None = None,
        services: Model | None = None,
    ) -> str:
        """A commit with this in it, while the checkout stays where it is."""
        model = copy.deepcopy(self.model)
        model["services"]["web"].update(web or {})
        model["services"].update(services or {})
        model.update(top or {})
        return self.commits({"compose.yml": json.dumps(model), **(files or {})})

    def commits(self, files: Mapping[str, str | None]) -> str:
        commit = self.cluster.commit(files, "wanted")
        self.cluster.git("reset", "--quiet", "--hard", self.good)
        return commit

    def run(self, command: str, *arguments: str) -> tuple[int, str]:
        """The tool in this process: its exit code, and whatever it has to say for it."""
        base = ["--repo", str(self.cluster.directory), "--state-dir", str(self.state)]
        try:
            return program([command, *base, *arguments]), ""
        except DualUpdateError as error:
            return error.exit_code, str(error)

    def tags(self) -> dict[str, str]:
        """What each name of an image of this test, and each that compose gives here, stands for."""
        names = {
            tag: str(one["Id"]) for one in self.world.engine.api.images() for tag in one.get("RepoTags") or ()
        }
        ours = (self.images.ref(""), self.cluster.project)
        return {tag: image for tag, image in names.items() if tag.startswith(ours)}

    def stranger(self, **options: Any) -> str:
        """A container of nobody's project; gone after the case."""
        container = self.world.engine.containers.run(self.images.ref("web:1"), detach=True, **options)
        self.stack.callback(container.remove, force=True, v=True)
        return str(container.name)

    def listener(self, kind: socket.SocketKind, port: int = 0, host: str = "127.0.0.1") -> int:
        """A program of the host that takes a port."""
        taken = self.stack.enter_context(socket.socket(socket.AF_INET, kind))
        taken.bind((host, port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        return int(taken.getsockname()[1])

    def mount(self, *arguments: str, at: Path) -> None:
        done = subprocess.run(["mount", *arguments, str(at)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            missing(f"file systems cannot be mounted here: {done.stderr.strip()}")
        self.stack.callback(subprocess.run, ["umount", "--lazy", str(at)], check=True)

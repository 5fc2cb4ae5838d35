"""Compose projects that differ a little, over the fields of the compose schema: a chain of small steps.

A project is drawn as choices, one option for each field of each service; a step draws some of them anew.
Every option is one that the engine of the tests can start. The files are JSON, which is YAML; how they
are written (long or short syntax, order, comments) is drawn too, because it must not matter.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

SERVICES = ("a", "b", "c", "d")

FIELDS: Mapping[str, tuple[Any, ...]] = {
    "image": ("@1", "@2", "${IMAGE}", "@1-pinned"),
    "command": (None, ["/app/run"], "/app/run"),
    "entrypoint": (None, ["/bin/sh", "/app/run"]),
    "environment": (None, {"A": "1"}, {"A": "2"}, {"A": "1", "B": "x y"}, {"A": "${VALUE}"}, {"A": None}),
    "env_file": (None, "app.env", ["app.env"], [{"path": "gone.env", "required": False}]),
    "labels": (None, {"x": "1"}, {"x": "2"}, {"x": "1", "y": ""}),
    "label_file": (None, "app.labels"),
    "hostname": (None, "h1", "h2"),
    "domainname": (None, "example.org"),
    "working_dir": (None, "/app", "/tmp"),
    "user": (None, "0", "0:0"),
    "cap_add": (None, ["NET_ADMIN"], ["NET_ADMIN", "SYS_PTRACE"], ["SYS_PTRACE", "NET_ADMIN"]),
    "cap_drop": (None, ["MKNOD"]),
    "dns": (None, "127.0.0.1", ["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]),
    "dns_search": (None, "example.org"),
    "dns_opt": (None, ["ndots:2"]),
    "extra_hosts": (None, {"h": "10.0.0.1"}, ["h:10.0.0.1"], {"h": "10.0.0.2"}),
    "group_add": (None, ["100"]),
    "init": (None, True, False),
    "ipc": (None, "private", "shareable"),
    "restart": (None, "no", "always", "unless-stopped", "on-failure:3"),
    "read_only": (None, True, False),
    "privileged": (None, False),
    "security_opt": (None, ["no-new-privileges:true"]),
    "stop_grace_period": (None, "1s", "1000ms", "2s"),
    "stop_signal": (None, "SIGTERM", "SIGINT"),
    "sysctls": (
        None,
        {"net.core.somaxconn": "1024"},
        ["net.core.somaxconn=1024"],
        {"net.core.somaxconn": 512},
    ),
    "tmpfs": (None, "/run", ["/run"], ["/run", "/var"]),
    "ulimits": (None, {"nofile": 1024}, {"nofile": {"soft": 1024, "hard": 1024}}, {"nofile": 2048}),
    "shm_size": (None, "64m", "67108864", "32m"),
    "mem_limit": (None, "64m", "128m", 67108864),
    "mem_reservation": (None, "32m"),
    "cpus": (None, 0.5, "0.5", 1),
    "cpu_shares": (None, 512),
    "pids_limit": (None, 100, 200),
    "oom_score_adj": (None, 100),
    "tty": (None, True, False),
    "stdin_open": (None, True, False),
    "expose": (None, ["80"], ["80", "81"], [80]),
    "ports": (None, ["80"], [{"target": 80}], ["80/tcp"], ["80/udp"], ["127.0.0.1::80"]),
    "volumes": (
        None,
        ["data:/data"],
        [{"type": "volume", "source": "data", "target": "/data"}],
        ["./conf:/conf"],
        ["./conf:/conf:ro"],
        ["/anonymous"],
        ["data:/data", "./conf:/conf"],
        ["other:/data"],
    ),
    "networks": (
        None,
        ["front"],
        {"front": None},
        {"front": {"aliases": ["z"]}},
        ["front", "default"],
        ["back"],
    ),
    "healthcheck": (
        None,
        {"test": "true", "interval": "5s"},
        {"test": ["CMD-SHELL", "true"], "interval": "5000ms"},
        {"disable": True},
        {"test": ["NONE"]},
    ),
    "logging": (None, {"driver": "json-file"}, {"driver": "json-file", "options": {"max-size": "1m"}}),
    "depends_on": (None, ["a"], {"a": {"condition": "service_started"}}),
    "configs": (None, ["inline"], [{"source": "inline", "target": "/etc/c"}], ["file"]),
    "secrets": (None, ["file"], [{"source": "file", "target": "s"}]),
    "pull_policy": (None, "missing", "if_not_present"),
    "profiles": (None, None, None, ["extra"]),
    "scale": (None, 1, 2),
    "deploy": (
        None,
        {"replicas": 2},
        {"resources": {"limits": {"memory": "96m"}}},
        {"labels": {"x": "1"}},
    ),
    "network_mode": (None, None, None, "none", "service:a"),
    "x-note": (None, "one", "two"),
    "attach": (None, False),
    "is_there": (True, True, True, False),
}

PROJECT: Mapping[str, tuple[Any, ...]] = {
    "networks.front": (None, {"labels": {"x": "1"}}, {"driver": "bridge"}, {"internal": True}),
    "networks.back": (None, {"driver_opts": {"com.docker.network.driver.mtu": "1400"}}),
    "networks.default": (None, {"labels": {"x": "1"}}),
    "volumes.data": (None, {"labels": {"x": "1"}}, {"driver": "local"}, {"name": "@named"}),
    "configs.inline": ({"content": "one"}, {"content": "two"}),
    "file:config.txt": ("one\n", "two\n"),
    "file:secret.txt": ("one\n", "two\n"),
    "file:app.env": ("E=1\n", "E=2\n", "E=1\n# said\n", "E='1'\n"),
    "file:app.labels": ("l=1\n", "l=2\n"),
    "file:conf/file": ("one\n", "two\n"),
    "file:README": ("one\n", "two\n"),
    "env:IMAGE": ("@1", "@2"),
    "env:VALUE": ("1", "2", "'1'"),
    "x-top": (None, {"a": 1}),
}

FAVOURED = ("image", "scale", "is_there", "profiles", "networks", "volumes", "depends_on", "deploy")
"""Fields whose changes compose treats in ways of their own; drawn as often as all fields together."""

WRITTEN = ("plain", "indented", "reversed", "commented", "twice")


@dataclass(frozen=True)
class Choices:
    """One project: an index into the options of each field that was drawn; all others are at 0."""

    services: Mapping[tuple[str, str], int] = field(default_factory=dict)
    project: Mapping[str, int] = field(default_factory=dict)
    written: str = "plain"

    def step(self, change: "Step") -> "Choices":
        return replace(
            self,
            services={**self.services, **dict(change.services)},
            project={**self.project, **dict(change.project)},
            written=change.written,
        )

    def of(self, service: str, name: str) -> Any:
        return FIELDS[name][self.services.get((service, name), 0)]

    def files(self, images: Mapping[str, str], project_name: str) -> dict[str, str]:
        """The project's files; `images` gives the references behind `@1`, `@2` and `@1-pinned`."""
        top = {name: options[self.project.get(name, 0)] for name, options in PROJECT.items()}
        resources: dict[str, Any] = {
            "networks": {"front": top["networks.front"], "back": top["networks.back"]},
            "volumes": {"data": top["volumes.data"], "other": None},
            "configs": {"inline": top["configs.inline"], "file": {"file": "./config.txt"}},
            "secrets": {"file": {"file": "./secret.txt"}},
        }
        if top["networks.default"]:
            resources["networks"]["default"] = top["networks.default"]
        model = {"services": {name: self._service(name) for name in self._present()}, **resources}
        if top["x-top"]:
            model["x-top"] = top["x-top"]
        text = self._text(model)
        dotenv = "".join(f"{name[4:]}={top[name]}\n" for name in PROJECT if name.startswith("env:"))
        found = {name[5:]: top[name] for name in PROJECT if name.startswith("file:")}
        found |= {"compose.yaml": text, ".env": dotenv}
        for mark in sorted(images, reverse=True, key=len):
            found = {path: content.replace(mark, images[mark]) for path, content in found.items()}
        return {path: content.replace("@named", f"{project_name}-named") for path, content in found.items()}

    def _present(self) -> list[str]:
        return ["a", *(name for name in SERVICES[1:] if self.of(name, "is_there"))]

    def _service(self, name: str) -> dict[str, Any]:
        """One service, without the combinations that compose or the engine refuse."""
        model = {key: self.of(name, key) for key in FIELDS if key != "is_there"}
        model = {key: value for key, value in model.items() if value is not None}
        mode = model.get("network_mode")
        if name == "a":
            for key in ("profiles", "depends_on", "is_there"):
                model.pop(key, None)
            if mode == "service:a":
                model.pop("network_mode")
        if model.get("network_mode"):
            for key in ("networks", "ports", "expose", "hostname", "domainname", "extra_hosts", "sysctls"):
                model.pop(key, None)
            for key in ("dns", "dns_search", "dns_opt"):
                model.pop(key, None)
        deploy = model.get("deploy") or {}
        if "scale" in model:
            deploy = {key: value for key, value in deploy.items() if key != "replicas"}
        if "resources" in deploy:
            for key in ("mem_limit", "cpus", "pids_limit", "mem_reservation"):
                model.pop(key, None)
        if "deploy" in model:
            model["deploy"] = deploy
        if "mem_reservation" in model and "mem_limit" not in model:
            model.pop("mem_reservation")
        return model

    def _text(self, model: dict[str, Any]) -> str:
        if self.written == "indented":
            return json.dumps(model, indent=3) + "\n"
        if self.written == "reversed":
            model = dict(reversed(model.items()))
            model["services"] = {
                name: dict(reversed(one.items())) for name, one in reversed(model["services"].items())
            }
        text = json.dumps(model)
        if self.written == "commented":
            return f"# said\n---\n{text}  # and done\n"
        if self.written == "twice":
            first = {name: {"image": one["image"]} for name, one in model["services"].items()}
            return f"{json.dumps({'services': first})}\n---\n{text}\n"
        return text + "\n"


@dataclass(frozen=True)
class Step:
    """What is drawn anew between two projects."""

    services: tuple[tuple[tuple[str, str], int], ...]
    project: tuple[tuple[str, int], ...]
    written: str


@st.composite
def _service_choice(draw: st.DrawFn) -> tuple[tuple[str, str], int]:
    name = draw(st.sampled_from(FAVOURED) | st.sampled_from(sorted(FIELDS)))
    return (draw(st.sampled_from(SERVICES)), name), draw(st.integers(0, len(FIELDS[name]) - 1))


@st.composite
def _project_choice(draw: st.DrawFn) -> tuple[str, int]:
    name = draw(st.sampled_from(sorted(PROJECT)))
    return name, draw(st.integers(0, len(PROJECT[name]) - 1))


def steps(fewest: int, most: int) -> st.SearchStrategy[Step]:
    """Steps of some choices of services, and now and then one of the project."""
    return st.builds(
        Step,
        st.lists(_service_choice(), min_size=fewest, max_size=most).map(tuple),
        st.lists(_project_choice(), max_size=2).map(tuple),
        st.sampled_from(WRITTEN),
    )


def chains(pairs: int) -> st.SearchStrategy[list[Choices]]:
    """A project and what becomes of it in `pairs` steps. The first is drawn more freely."""

    def walked(first: Step, rest: list[Step]) -> list[Choices]:
        found = [Choices().step(first)]
        for one in rest:
            found.append(found[-1].step(one))
        return found

    return st.builds(walked, steps(12, 24), st.lists(steps(2, 6), min_size=pairs, max_size=pairs))

"""A cluster in a world that lies: calls return as if all were well, and the engine shows something else.

Each lie is told by a real adapter with one act bent: compose that does nothing or the wrong thing, a hand
that spoils what compose made, a pull that brings nothing, a Watchtower that claims. The use-cases are the
real ones. What is true afterwards is asked from the engine by other means than the tool's. A lie that ends in
"succeeded" while the engine shows otherwise is a false success, and so is a "rolled back" that is none.
"""

import dataclasses
import io
import json
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dual_update.core.config import Health
from dual_update.core.errors import DualUpdateError
from dual_update.core.watchtower import PokeAnswer, WatchtowerPolicy
from dual_update.usecases.apply import ApplyRequest, apply
from dual_update.usecases.rollback import choose, rollback
from dual_update.usecases.site import Site
from dual_update.wiring import Settings, deaf, open_site
from tests.integration.world import Container, World, eventually

SETTLE_SECONDS = 0.5
LONG_SETTLE_SECONDS = 4.5
DELAY_SECONDS = 2
"""How long a spoiled container looks well in the lies that take time; the long settle time sees it."""

Spoil = Callable[["Arena"], None]


@dataclass(frozen=True)
class Lie:
    """`acts` names what is bent: the up (`compose`), the pull, the checkout, Watchtower, or the engine."""

    name: str
    act: str
    tell: Spoil | None = None
    is_slow: bool = False


@dataclass
class Told:
    """How it ended: the outcome that was claimed, what is true, and whether the claim is false."""

    flow: str
    lie: str
    outcome: str
    reason: str
    truth: str
    is_false: bool
    seconds: float
    wrong: list[str] = field(default_factory=list)


class Arena:
    """One cluster of two versions; what differs between them depends on the flow."""

    def __init__(self, world: World, flow: str) -> None:
        self.world, self.flow, self.images = world, flow, world.images
        self.engine = world.engine.api
        self.ids: dict[str, str] = {}
        self.generation = 0
        for name in ("web:1", "web:2", "db:1"):
            self.ids[name] = self.images.push(name, name, interval_seconds=0.3).id
        self.ids["web:bad"] = self.images.push("web:bad", "bad", flavour="crash").id
        world.engine.api.pull(self.images.ref("web"), tag="1")
        self.cluster = world.repo(self._files("old"))
        self.old = self.cluster.head
        self.new = self.cluster.commit(self._files("new"), "new")
        self.bad = self.cluster.commit(self._files("bad"), "bad")
        self.cluster.git("checkout", "--quiet", "--detach", self.old)
        self.state = Path(tempfile.mkdtemp(dir=world.folder, prefix="lies-state-"))
        self.reset()

    def _files(self, version: str) -> dict[str, str | bytes]:
        is_new = version != "old"
        image = {"old": "web:1", "new": "web:2", "bad": "web:bad"}[version]
        if self.flow == "poke":
            image, is_new = "web:1", False
        is_structural = self.flow in {"revamp", "changed", "back"}
        value = "new" if is_new and is_structural else "old"
        greeting = f"good day from {value}"
        config = f"{{content: '{greeting}'}}" if self.flow != "poke" else "{file: ./greeting}"
        deploy = "    deploy: {update_config: {order: start-first}}\n" if self.flow == "beside" else ""
        return {
            "compose.yml": f"""
services:
  web:
    image: {self.images.ref(image)}
    stop_grace_period: 1s
    environment: {{VERSION: {value}}}
    labels: {{com.centurylinklabs.watchtower.enable: "true"}}
    configs: [{{source: greeting, target: /greeting}}]
    secrets: [token]
    volumes: ["store:/store", "./setting:/setting:ro"]
    networks: {{default: {{aliases: [shop]}}}}
{deploy}  db:
    image: {self.images.ref("db:1")}
    stop_grace_period: 1s
configs:
  greeting: {config}
secrets:
  token: {{file: ./token}}
volumes:
  store: {{}}
""",
            "greeting": greeting,
            "setting": f"setting of {value}",
            "token": f"token of {value}",
            ".github/dual-update.yml": "health: {settle_seconds: 0.5, deadline_seconds: 8}\n",
        }

    # --- honest

    @contextmanager
    def site(self, ref: str) -> Any:
        settings = Settings(self.cluster.directory, state_dir=self.state)
        with open_site(settings, ref, lambda _: None) as (site, commit):
            yield site, commit

    def reset(self) -> None:
        """Back to the old version by honest means; a cluster that was spoiled beyond that is made anew."""
        if self.flow == "poke" and self.generation:
            self.ids["web:1"] = self.images.push("web:1", "web:1", interval_seconds=0.3).id
        for _ in range(2):
            with self.site(self.old) as (site, _commit):
                site.store.release(site.cluster)
                with suppress(DualUpdateError):
                    request = ApplyRequest(self.old, is_approved=True, is_approved_by_person=True,
                                           accepts_drift=True)  # fmt: skip
                    apply(site, request, lambda _: True, deaf)
            if not self.wrong("old"):
                return
            self.cluster.git("checkout", "--quiet", "--force", "--detach", self.old)
            for container in self.cluster.containers():
                self.engine.remove_container(container.id, force=True)
            for name in self.engine.networks(
                filters={"label": f"com.docker.compose.project={self.cluster.project}"}
            ):
                with suppress(Exception):
                    self.engine.remove_network(name["Id"])
            self.state = Path(tempfile.mkdtemp(dir=self.world.folder, prefix="lies-state-"))
        wrong = self.wrong("old")
        assert not wrong, f"the cluster cannot be reset: {wrong}"

    # --- the truth

    def wrong(self, version: str) -> list[str]:
        """What is not as in a version, asked from the engine without the tool."""
        image = {"old": "web:1", "new": "web:2", "bad": "web:bad"}[version]
        if self.flow == "poke":
            image = "web:1"
        is_new = version != "old" and self.flow in {"revamp", "changed", "back"}
        value = "new" if is_new else "old"
        found = []
        containers = self.cluster.containers()
        for service, wanted in (("web", self.ids.get(image)), ("db", self.ids["db:1"])):
            mine = [c for c in containers if c.service == service]
            if len(mine) != 1:
                found.append(f"{service} has {len(mine)} containers")
            for one in mine:
                if one.state != "running" or one.health not in ("healthy", "starting"):
                    found.append(f"{one.name} is {one.state}, {one.health}")
                if one.image_id != wanted:
                    found.append(f"{one.name} runs another image")
                facts = self.engine.inspect_container(one.id)
                names = {n for e in facts["NetworkSettings"]["Networks"].values() for n in e["Aliases"] or ()}
                if not ({service, "shop"} if service == "web" else {service}) <= names:
                    found.append(f"{one.name} lost a name")
                if set(facts["NetworkSettings"]["Networks"]) != {f"{self.cluster.project}_default"}:
                    found.append(f"{one.name} is on other networks")
                if service == "web":
                    found += self._wrong_inside(one, facts, value)
        if {c.service for c in containers} - {"web", "db"}:
            found.append("there are services that nobody wants")
        return found

    def _wrong_inside(self, one: Container, facts: Mapping[str, Any], value: str) -> list[str]:
        found = []
        if f"VERSION={value}" not in facts["Config"]["Env"]:
            found.append("another environment")
        if f"{self.cluster.project}_store" not in {m.source for m in one.mounts}:
            found.append("another volume")
        if one.state == "running":
            for path, words in (
                ("/greeting", f"good day from {value}"),
                ("/setting", f"setting of {value}"),
                ("/run/secrets/token", f"token of {value}"),
            ):
                if _seen(int(facts["State"]["Pid"]), path) != words:
                    found.append(f"another content of {path}")
        return found

    def inside(self, container: str, *command: str) -> str:
        made = self.engine.exec_create(container, list(command), user="0")
        return str(self.engine.exec_start(made["Id"]).decode())

    # --- lying

    def tell(self, lie: Lie) -> Told:
        """Tell one lie in this arena's flow, from the old version on."""
        began = time.monotonic()
        self.has_lied = False
        self.lie = lie
        if self.flow == "poke":
            self.generation += 1
            self.before_poke = self.ids["web:1"]
            self.ids["web:1"] = self.images.push(
                "web:1", f"web:1 again {self.generation}", interval_seconds=0.3
            ).id
        outcome, reason = self._run(lie)
        if lie.is_slow:
            time.sleep(DELAY_SECONDS + 1)
        wrong = self._settled(self._claimed(outcome))
        is_false = bool(wrong) and outcome not in {"rollback_failed"}
        truth = "as claimed" if not wrong else "; ".join(wrong)
        is_back = outcome in {"rolled_back", "refused"} and self.flow != "back"
        told = Told(
            self.flow, lie.name, outcome, reason, truth, is_false, round(time.monotonic() - began, 1), wrong
        )
        if is_back and not wrong:
            if self.flow == "poke":
                self.ids["web:1"] = self.before_poke
            with self.site(self.old) as (site, _):
                site.store.release(site.cluster)
        else:
            self.reset()
        return told

    def _settled(self, version: str) -> list[str]:
        """What is wrong for good: a health check may still be on its way to the first answer."""
        with suppress(AssertionError):
            eventually(lambda: not self._wrong_in(version), within_seconds=1.5)
        return self._wrong_in(version)

    def _wrong_in(self, version: str) -> list[str]:
        if self.flow == "poke" and version == "old":
            after, self.ids["web:1"] = self.ids["web:1"], self.before_poke
            try:
                return self.wrong("old")
            finally:
                self.ids["web:1"] = after
        return self.wrong(version)

    def _claimed(self, outcome: str) -> str:
        if outcome in {"succeeded", "unchanged"}:
            return "old" if self.flow == "back" else "new"
        return "new" if self.flow == "back" and outcome == "refused" else "old"

    def _run(self, lie: Lie) -> tuple[str, str]:
        ref = {"poke": self.old, "failing": self.bad}.get(self.flow, self.new)
        with self.site(ref) as (real, commit):
            if self.flow == "back":
                honest = ApplyRequest(commit, is_approved=True, is_approved_by_person=True)
                assert apply(real, honest, lambda _: True, deaf).outcome == "succeeded"
            settle = LONG_SETTLE_SECONDS if lie.is_slow else SETTLE_SECONDS
            health = Health(settle, 6.0)
            config = dataclasses.replace(real.config, health=health)
            site = self._bent(dataclasses.replace(real, config=config), lie)
            scope: Any = "changed" if self.flow == "changed" else "cluster"
            try:
                if self.flow == "back":
                    report = rollback(site, choose(site), deaf)
                else:
                    request = ApplyRequest(commit, scope, is_approved=True, is_approved_by_person=True)
                    report = apply(site, request, lambda _: True, deaf)
            except DualUpdateError as error:
                return "refused", error.message
        return report.outcome, report.reason or ""

    def _bent(self, site: Site, lie: Lie) -> Site:
        if self.flow == "poke":
            site = dataclasses.replace(site, watchtower=_Watchtower(self, lie))
        if lie.act == "compose":
            honest = site.compose
            return dataclasses.replace(
                site, compose=lambda name, files: _Compose(honest(name, files), self, lie)
            )
        if lie.act == "pull":
            return dataclasses.replace(site, workshop=_Workshop(site.workshop, self, lie))
        if lie.act == "checkout":
            return dataclasses.replace(site, checkout=_Checkout(site.checkout))
        if lie.act.startswith("engine."):
            return dataclasses.replace(site, engine=_Engine(site.engine, lie.act.partition(".")[2]))
        return site

    # --- what lies do

    def web(self) -> Container:
        return next(c for c in self.cluster.containers() if c.service == "web")

    def db(self) -> Container:
        return next(c for c in self.cluster.containers() if c.service == "db")

    def later(self, act: Callable[[], None]) -> None:
        def wait() -> None:
            time.sleep(DELAY_SECONDS)
            with suppress(Exception):
                act()

        threading.Thread(target=wait, daemon=True).start()

    def remake(self, container: Container, **bent: Any) -> None:
        """The container again by the engine alone, with its labels and name, and one thing bent."""
        facts = self.engine.inspect_container(container.id)
        config, host = dict(facts["Config"]), dict(facts["HostConfig"])
        for key, value in bent.items():
            if key == "env":
                config["Env"] = [one for one in config["Env"] if not one.startswith("VERSION=")] + [value]
            elif key == "binds":
                host["Mounts"] = [dict(one, **value(one)) for one in host.get("Mounts") or ()]
                host["Binds"] = [value({"bind": one})["bind"] for one in host.get("Binds") or ()]
            elif key == "labels":
                config["Labels"] = {**config["Labels"], **value}
            elif key == "image":
                config["Image"] = value
        networks = facts["NetworkSettings"]["Networks"]
        aliases = bent.get("aliases")
        endpoints = {
            name: {"Aliases": aliases if aliases is not None else
                   [a for a in one["Aliases"] or () if a != container.id[:12]]}
            for name, one in networks.items()
        }  # fmt: skip
        self.engine.remove_container(container.id, force=True)
        made = self.engine.create_container_from_config(
            {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": endpoints}},
            name=bent.get("name", container.name),
        )["Id"]
        files = {} if bent.get("loses_files") else {"greeting": b"good day from " + self._value().encode()}
        if files and self.flow != "poke":
            self.put(made, bent.get("files", files))
        if not bent.get("stays_down"):
            self.engine.start(made)

    def _value(self) -> str:
        if self.flow == "back":
            return "old"
        return "new" if self.flow in {"revamp", "changed"} else "old"

    def put(self, container: str, files: Mapping[str, bytes]) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        self.engine.put_archive(container, "/", packed.getvalue())

    def beside(self, service: str, number: str, *, is_started: bool = True) -> None:
        """One container more, with compose's labels."""
        facts = self.engine.inspect_container(self.db().id)
        labels = {**facts["Config"]["Labels"], "com.docker.compose.service": service,
                  "com.docker.compose.container-number": number}  # fmt: skip
        made = self.engine.create_container(
            facts["Image"], name=f"{self.cluster.project}-{service}-{number}", labels=labels
        )["Id"]
        if is_started:
            self.engine.start(made)

    def old_image(self) -> str:
        return self.ids["web:1"] if self.flow not in {"poke", "back"} else (
            self.before_poke if self.flow == "poke" else self.ids["web:2"]
        )  # fmt: skip


def _seen(pid: int, path: str) -> str:
    """A file as a process of the container sees it, by the kernel: an exec's output may get lost."""
    try:
        return Path(f"/proc/{pid}/root{path}").read_text()
    except OSError:
        return ""


class _Compose:
    """Compose that returns as if it had done well."""

    def __init__(self, honest: Any, arena: Arena, lie: Lie) -> None:
        self._honest, self._arena, self._lie = honest, arena, lie

    def up(self, services: Any = (), **options: Any) -> None:
        is_it = not services or "web" in services
        if not is_it:
            self._honest.up(services, **options)
            return
        if self._arena.flow == "failing" and not options.get("force"):
            self._honest.up(services, **options)  # the way there is honest; the way back lies
            return
        self._arena.has_lied = True
        if self._lie.name == "compose does nothing":
            return
        if self._lie.name == "compose brings up another service":
            self._honest.up(["db"], force=True)
            return
        if self._lie.name == "compose only restarts":
            self._arena.engine.restart(self._arena.web().id, timeout=1)
            return
        if self._lie.name == "compose creates and does not start":
            self._honest.up(services, **{**options, "start": False})
            return
        self._honest.up(services, **options)
        if self._lie.tell is not None:
            self._lie.tell(self._arena)

    def plans_nothing(self) -> bool:
        return True


class _Workshop:
    """A pull that brings nothing, or something else."""

    def __init__(self, honest: Any, arena: Arena, lie: Lie) -> None:
        self._honest, self._arena, self._lie = honest, arena, lie

    def pull(self, rendered: Any, services: Any) -> None:
        arena = self._arena
        if self._lie.name == "the pull brings nothing":
            return
        self._honest.pull(rendered, services)
        repository, _, tag = str(rendered.services["web"]["image"]).rpartition(":")
        arena.engine.tag(arena.old_image() if self._lie.name.endswith("old image") else arena.ids["db:1"],
                         repository, tag, force=True)  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)


class _Checkout:
    """A checkout that does not move."""

    def __init__(self, honest: Any) -> None:
        self._honest = honest

    def move(self, commit: str) -> None:
        """Says nothing, does nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)


class _Engine:
    """An engine of which one call does nothing."""

    def __init__(self, honest: Any, silent: str) -> None:
        self._honest, self._silent = honest, silent

    def __getattr__(self, name: str) -> Any:
        return (lambda *_, **__: None) if name == self._silent else getattr(self._honest, name)


class _Watchtower:
    """Says that all went well, whatever it did."""

    def __init__(self, arena: Arena, lie: Lie) -> None:
        self._arena, self._lie = arena, lie

    def policy(self) -> WatchtowerPolicy:
        return WatchtowerPolicy(is_known=True)

    def poke(self, containers: Any, images: Any) -> PokeAnswer:
        arena = self._arena
        new = arena.images.ref("web:1")
        if self._lie.name != "Watchtower does nothing":
            arena.remake(arena.web(), image=new)
            if self._lie.act == "watchtower" and self._lie.tell is not None:
                self._lie.tell(arena)
        return PokeAnswer("done", "Watchtower says: updated 1 of 1 scanned.")


def _unplugged(arena: Arena) -> None:
    network = f"{arena.cluster.project}_default"
    arena.engine.disconnect_container_from_network(arena.web().id, network)


def _nameless(arena: Arena) -> None:
    _unplugged(arena)
    arena.engine.connect_container_to_network(arena.web().id, f"{arena.cluster.project}_default")


def _foreign_network(arena: Arena) -> None:
    arena.engine.connect_container_to_network(arena.web().id, "bridge")


def _other_volume(one: Mapping[str, Any]) -> dict[str, Any]:
    if "bind" in one:
        return {"bind": str(one["bind"]).replace("_store:", "_other:")}
    return {"Source": f"{one['Source']}-other"} if one.get("Target") == "/store" else {}


def _other_file(arena: Arena) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    other = arena.world.folder / "other-setting"
    other.write_text("setting of nobody")

    def change(one: Mapping[str, Any]) -> dict[str, Any]:
        if "bind" in one:
            _host, _, rest = str(one["bind"]).partition(":")
            return {"bind": f"{other}:{rest}" if rest.startswith("/setting") else one["bind"]}
        return {"Source": str(other)} if one.get("Target") == "/setting" else {}

    return change


def _other_secret(arena: Arena) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    other = arena.world.folder / "other-token"
    other.write_text("token of nobody")

    def change(one: Mapping[str, Any]) -> dict[str, Any]:
        if "bind" in one:
            _host, _, rest = str(one["bind"]).partition(":")
            return {"bind": f"{other}:{rest}" if rest.startswith("/run/secrets") else one["bind"]}
        return {"Source": str(other)} if one.get("Target") == "/run/secrets/token" else {}

    return change


def _no_secret(arena: Arena) -> None:
    def change(one: Mapping[str, Any]) -> dict[str, Any]:
        if "bind" in one:
            return {"bind": str(one["bind"]).replace(":/run/secrets/token", ":/elsewhere")}
        return {"Target": "/elsewhere"} if one.get("Target") == "/run/secrets/token" else {}

    arena.remake(arena.web(), binds=change)


def _crash(arena: Arena) -> None:
    container = arena.web().id
    arena.later(lambda: arena.engine.kill(container))


def _no_answer(arena: Arena) -> None:
    container = arena.web().id
    arena.later(lambda: arena.inside(container, "killall", "nc"))


def _gone_later(arena: Arena) -> None:
    container = arena.web().id
    arena.later(lambda: arena.engine.remove_container(container, force=True))


def _old_image_again(arena: Arena) -> None:
    arena.remake(arena.web(), image=arena.old_image())


def _other_hash(arena: Arena) -> None:
    """Made from other settings than its file's: another command, and the label that says so."""
    arena.remake(arena.web(), labels={"com.docker.compose.config-hash": "0" * 64}, env="VERSION=another")


SPOILS: tuple[tuple[str, Spoil, bool], ...] = (
    ("the container is gone", lambda a: a.engine.remove_container(a.web().id, force=True), False),
    ("the container is stopped", lambda a: a.engine.stop(a.web().id, timeout=1), False),
    ("the container is paused", lambda a: a.engine.pause(a.web().id), False),
    ("the old image runs under the new labels", _old_image_again, False),
    ("the environment is stale under the same labels", lambda a: a.remake(a.web(), env="VERSION=x"), False),
    ("another configuration", _other_hash, False),
    ("the config is missing", lambda a: a.remake(a.web(), loses_files=True), False),
    ("the config is stale", lambda a: a.put(a.web().id, {"greeting": b"bad day"}), False),
    ("the secret is another", lambda a: a.remake(a.web(), binds=_other_secret(a)), False),
    ("the secret is missing", _no_secret, False),
    ("the mounted file is another", lambda a: a.remake(a.web(), binds=_other_file(a)), False),
    ("another volume is mounted", lambda a: a.remake(a.web(), binds=_other_volume), False),
    ("it is on no network", _unplugged, False),
    ("it lost its names", _nameless, False),
    ("it is on a foreign network", _foreign_network, False),
    ("one container too many", lambda a: a.beside("web", "7"), False),
    ("a half-made container stays", lambda a: a.beside("web", "7", is_started=False), False),
    ("a service that nobody wants", lambda a: a.beside("ghost", "1"), False),
    ("the untouched service is gone", lambda a: a.engine.remove_container(a.db().id, force=True), False),
    ("it crashes a while later", _crash, True),
    ("it turns unhealthy a while later", _no_answer, True),
    ("it is removed a while later", _gone_later, True),
)
DOINGS = (
    "compose does nothing",
    "compose brings up another service",
    "compose only restarts",
    "compose creates and does not start",
)
SPOILED = tuple(Lie(name, "compose", tell, is_slow) for name, tell, is_slow in SPOILS)
BY_COMPOSE = (*(Lie(name, "compose") for name in DOINGS), *SPOILED)
PULLS = (
    Lie("the pull brings nothing", "pull"),
    Lie("the pull brings the old image", "pull"),
    Lie("the pull brings another image", "pull"),
)
STILL = Lie("the checkout does not move", "checkout")
# Compose wrote a poked container's config? No: then it would not be poked. Its config is a file, mounted.
NOT_POKED = {"the config is missing", "the config is stale"}


def _image_is_gone(arena: Arena) -> None:
    """Watchtower's clean-up, or a hand: the old image goes with every name, ours included."""
    with suppress(Exception):
        arena.engine.remove_container(arena.web().id, force=True)
    arena.engine.remove_image(arena.ids["web:1"], force=True)


FLOWS: Mapping[str, tuple[Lie, ...]] = {
    "roll": (*BY_COMPOSE, *PULLS, STILL),
    "beside": tuple(
        lie for lie in (*BY_COMPOSE, STILL)
        if lie.name not in {"compose only restarts", "one container too many"}
    ),
    "revamp": (*BY_COMPOSE, *PULLS, STILL),
    "changed": (*BY_COMPOSE, STILL),
    "poke": (
        Lie("Watchtower does nothing", "watchtower"),
        *(
            Lie(name, "watchtower", tell, is_slow)
            for name, tell, is_slow in SPOILS
            if name not in NOT_POKED
        ),
        *PULLS[1:],
    ),
    "failing": (
        *(Lie(name, "compose") for name in DOINGS),
        *(one for one in SPOILED if not one.is_slow),
        Lie("names are not given back", "engine.tag"),
    ),
    "back": (*(Lie(name, "compose") for name in DOINGS), *SPOILED, STILL, Lie("no names", "engine.tag")),
}  # fmt: skip


def as_json(told: Told) -> str:
    return json.dumps(dataclasses.asdict(told))

"""Paths of the host are placed, paths inside containers never."""

from dual_update.core.model import HERE_ROOT, HOME_ROOT, Rendered
from dual_update.core.placement import at, on_host, placed

SERVICE = {
    "image": "app:1",
    "working_dir": "/src",
    "entrypoint": ["/src/run"],
    "environment": {"ROOT": "/src/app", "UP": "/outside/x"},
    "volumes": [
        {"type": "bind", "source": "/src/conf", "target": "/src/conf"},
        {"type": "bind", "source": "/outside/shared", "target": "/shared"},
        {"type": "bind", "source": "/etc/localtime", "target": "/etc/localtime"},
        {"type": "volume", "source": "data", "target": "/src/data"},
    ],
    "build": {
        "context": "/src/app",
        "dockerfile": "/src/docker/Dockerfile",
        "args": {"DIR": "/src/app"},
        "additional_contexts": {"lib": "/outside/lib", "base": "docker-image://app:1"},
    },
    "develop": {"watch": [{"path": "/src/app", "action": "sync", "target": "/src/app"}]},
    "credential_spec": {"file": "/src/spec.json"},
    "label_file": ["/src/labels"],
    "env_file": [{"path": "/src/.env", "required": True}],
}
MODEL = Rendered(
    "shop",
    {"app": SERVICE},
    volumes={"data": {"driver_opts": {"type": "none", "o": "bind", "device": "/src/data"}}, "plain": {}},
    configs={"c": {"file": "/src/c"}, "inline": {"content": "/src"}},
    secrets={"s": {"file": "/outside/s"}, "e": {"environment": "S"}},
)


def test_a_path_beside_the_repository_or_further_up() -> None:
    paths = (
        "/outside",
        "/outside/x",
        "/outside/../x",
        "/outside/../../../x",
        "/src/../x",
        "/outsider",
        "//src/x",
    )
    assert [at(one, "/srv/git/shop") for one in paths] == [
        "/srv/git", "/srv/git/x", "/srv/x", "/x", "/srv/git/shop/../x", "/outsider", "/src/x",
    ]  # fmt: skip
    assert at("/outside", "/shop") == "/"


def test_only_fields_that_hold_paths_of_the_host_are_rewritten() -> None:
    assert placed(MODEL, "/srv/shop") == {
        "name": "shop",
        "services": {
            "app": {
                **SERVICE,
                "volumes": [
                    {"type": "bind", "source": "/srv/shop/conf", "target": "/src/conf"},
                    {"type": "bind", "source": "/srv/shared", "target": "/shared"},
                    {"type": "bind", "source": "/etc/localtime", "target": "/etc/localtime"},
                    {"type": "volume", "source": "data", "target": "/src/data"},
                ],
                "build": {
                    "context": "/srv/shop/app",
                    "dockerfile": "/srv/shop/docker/Dockerfile",
                    "args": {"DIR": "/src/app"},
                    "additional_contexts": {"lib": "/srv/lib", "base": "docker-image://app:1"},
                },
                "develop": {"watch": [{"path": "/srv/shop/app", "action": "sync", "target": "/src/app"}]},
                "credential_spec": {"file": "/srv/shop/spec.json"},
                "label_file": ["/srv/shop/labels"],
                "env_file": [{"path": "/srv/shop/.env", "required": True}],
            }
        },
        "volumes": {
            "data": {"driver_opts": {"type": "none", "o": "bind", "device": "/srv/shop/data"}},
            "plain": {},
        },
        "configs": {"c": {"file": "/srv/shop/c"}, "inline": {"content": "/src"}},
        "secrets": {"s": {"file": "/srv/s"}, "e": {"environment": "S"}},
    }


def test_the_model_itself_is_left_alone() -> None:
    placed(MODEL, "/srv/shop")["services"]["app"]["environment"]["ROOT"] = "changed"
    assert SERVICE["environment"] == {"ROOT": "/src/app", "UP": "/outside/x"}


def test_a_checkout_at_the_top_of_the_disk() -> None:
    assert at("/src", "/app") == "/app"
    assert at("/outside", "/app") == "/"
    assert at("/outside/x", "/app") == "/x"
    assert at("/srcery", "/app") == "/srcery"


def test_words_that_stand_for_this_host_are_said() -> None:
    service = {"volumes": [{"source": f"{HOME_ROOT}/d"}], "command": [f"--x={HERE_ROOT}"], "init": True}
    found = on_host(Rendered("shop", {"web": service}), {HOME_ROOT: "/root", HERE_ROOT: "/srv/shop"})
    assert found.services["web"] == {
        "volumes": [{"source": "/root/d"}],
        "command": ["--x=/srv/shop"],
        "init": True,
    }
    assert found.name == "shop"

"""Secrets planted in every place that compose allows appear in no output, in no spelling."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from dual_update.core.errors import DualUpdateError
from dual_update.core.report import text
from tests.repositories import Checkout

PLACES = (
    "environment_map", "environment_list", "env_file", "dotenv", "command", "entrypoint", "labels",
    "build_args", "build_labels", "healthcheck", "url_password", "config_content", "config_env", "secret_env",
    "secret_file", "mounted_file", "extra_hosts", "extension", "service_extension", "annotations", "logging",
    "driver_opts", "sysctls", "devices", "image_token", "container_name", "hostname", "network_labels",
    "volume_labels", "post_start", "default", "label_file", "develop", "tmpfs", "dollar", "image_url", "port",
    "stop_signal",
)  # fmt: skip


def secret(place: str, side: str) -> str:
    """Different on each side, and with characters that URL encoding changes where the place allows them."""
    return f"Zq7{side}x{place.replace('_', '')}K9w"


def files(side: str) -> dict[str, str | bytes | None]:
    s = {place: secret(place, side) for place in PLACES}
    return {
        "compose.yaml": f"""\
x-top: {{note: {s["extension"]}}}
services:
  web:
    image: registry.example/${{REGISTRY_TOKEN}}/web:${{TAG}}
    container_name: c-${{NAME_SECRET}}
    hostname: h-${{HOST_PASSWORD}}
    stop_signal: ${{STOP_SECRET}}
    command: ["serve", "--key={s["command"]}"]
    entrypoint: /run --token {s["entrypoint"]}
    environment:
      API_KEY: {s["environment_map"]}
      FROM_DOTENV: ${{DOTENV_VALUE}}
      WITH_DEFAULT: ${{NOT_SET:-{s["default"]}}}
      DOLLAR: "abc${s["dollar"]}"
      DATABASE_URL: postgres://user:{s["url_password"]}@db/app
    env_file: [web.env]
    label_file: [web.labels]
    labels: {{traefik.auth: "{s["labels"]}"}}
    annotations: {{note: {s["annotations"]}}}
    healthcheck: {{test: ["CMD", "curl", "-H", "X: {s["healthcheck"]}", "http://localhost"]}}
    extra_hosts: ["{s["extra_hosts"].lower()}.example:10.0.0.1"]
    logging: {{driver: json-file, options: {{tag: {s["logging"]}}}}}
    sysctls: {{net.core.somaxconn: "{s["sysctls"]}"}}
    devices: ["/dev/{s["devices"]}:/dev/x"]
    tmpfs: ["/run/{s["tmpfs"]}"]
    post_start: [{{command: ["x", "{s["post_start"]}"]}}]
    develop: {{watch: [{{action: rebuild, path: "./{s["develop"]}"}}]}}
    x-note: {s["service_extension"]}
    volumes: ["./mounted.conf:/etc/mounted.conf", "data:/data"]
    configs: [inline, fromenv]
    secrets: [fromenv, fromfile]
    networks: [net]
  built:
    build:
      context: .
      args: {{TOKEN: {s["build_args"]}}}
      labels: {{x: {s["build_labels"]}}}
    environment: ["LIST_KEY={s["environment_list"]}"]
  proxy:
    image: https://user:{s["image_url"]}@registry.example/proxy
configs:
  inline: {{content: "password={s["config_content"]}"}}
  fromenv: {{environment: CONFIG_SECRET}}
secrets:
  fromenv: {{environment: SECRET_SECRET}}
  fromfile: {{file: ./secret.txt}}
networks:
  net: {{labels: {{x: {s["network_labels"]}}}}}
volumes:
  data: {{labels: {{x: {s["volume_labels"]}}}, driver_opts: {{o: "password={s["driver_opts"]}"}}}}
""",
        ".env": f"""\
TAG={"1.0" if side == "a" else "2.0"}
REGISTRY_TOKEN={s["image_token"].lower()}
NAME_SECRET={s["container_name"]}
HOST_PASSWORD={s["hostname"]}
STOP_SECRET="{s["stop_signal"]}"
DOTENV_VALUE={s["dotenv"]}
CONFIG_SECRET={s["config_env"]}
SECRET_SECRET={s["secret_env"]}
""",
        "web.env": f"PASSWORD={s['env_file']}\n",
        "web.labels": f"x={s['label_file']}\n",
        "secret.txt": s["secret_file"],
        "mounted.conf": s["mounted_file"],
        "Dockerfile": "FROM scratch\n",
    }


def spellings(value: str) -> set[str]:
    """A value as it is, in lower case, in URLs, in hex and in base64 at each of its three offsets."""
    found = {value, value.lower(), quote(value, safe=""), value.encode().hex(), value[::-1]}
    for padding in range(3):
        encoded = base64.b64encode(b"x" * padding + value.encode()).decode().rstrip("=")
        found.add(encoded[4 if padding else 0 : -3])
    return found


def said(checkout: Checkout, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "dual_update", "detect", *arguments],
        cwd=checkout.directory,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def assert_silent(words: str, *values: str) -> None:
    lower = words.lower()
    for value in values:
        shown = [one for one in spellings(value) if one.lower() in lower]
        assert not shown, f"{value} is shown: {[line for line in words.splitlines() if shown[0] in line]}"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "project")


def test_no_secret_is_in_any_report(checkout: Checkout) -> None:
    base, head = checkout.commit(files("a")), checkout.commit(files("b"))
    planted = [secret(place, side) for place in PLACES for side in "ab"]
    all_files = " ".join(str(one) for side in "ab" for one in files(side).values()).lower()
    assert sum(value.lower() in all_files for value in planted) >= 2 * 36, "the test plants what it looks for"
    for revisions in (("--base", base, "--head", head), ("--base", head, "--head", base), ("--head", head)):
        for output in ("text", "json", "markdown"):
            code, words = said(checkout, *revisions, "--format", output)
            assert code == 0, words
            assert_silent(words, *planted)


def test_what_is_no_secret_is_shown(checkout: Checkout) -> None:
    base, head = checkout.commit(files("a")), checkout.commit(files("b"))
    _, words = said(checkout, "--base", base, "--head", head, "--format", "json")
    web = json.loads(words)["services"]["web"]["image"]
    assert web == {"before": "registry.example/***/web:1.0", "after": "registry.example/***/web:2.0"}


def test_a_password_that_an_image_line_spells_out_masks_no_image(checkout: Checkout) -> None:
    database = "services:\n  db:\n    image: postgres:{}\n    environment: {{P: '${{DB_PASSWORD}}'}}\n"
    base = checkout.commit({"compose.yaml": database.format(15), ".env": "DB_PASSWORD=postgres\n"})
    head = checkout.commit({"compose.yaml": database.format(16)})
    _, words = said(checkout, "--base", base, "--head", head)
    assert "postgres:15 -> postgres:16" in words


S = "Zq7planted9Kw"
REFUSED = {
    "a port": ("services: {web: {image: a, ports: ['@']}}", ""),
    "a duration": ("services: {web: {image: a, stop_grace_period: '@'}}", ""),
    "a duration of health": ("services: {web: {image: a, healthcheck: {interval: '@'}}}", ""),
    "a size": ("services: {web: {image: a, mem_limit: '@'}}", ""),
    "a boolean": ("services: {web: {image: a, privileged: '${X}'}}", "X=@"),
    "a number": ("services: {web: {image: a, cpus: '${X}'}}", "X=@"),
    "a device": ("services: {web: {image: a, devices: ['@:@:@:@']}}", ""),
    "an interpolation": ("services: {web: {image: a, command: 'x ${@ y'}}", ""),
    "a demanded variable": ("services: {web: {image: a, command: '${X:?@}'}}", ""),
    "a demanded variable in quotes": ("services: {web: {image: a, command: '${X:?is = `@`}'}}", ""),
    "a scalar for a mapping": ("'@'", ""),
    "a scalar for services": ("services: '@'", ""),
    "a scalar for a service": ("services: {web: '@'}", ""),
    "a scalar for an environment": ("services: {web: {image: a, environment: '@'}}", ""),
    "a list in an environment": ("services: {web: {image: a, environment: [{A: '@'}]}}", ""),
    "bad yaml": ("services:\n  web:\n    image: a\n   PASS: @\n", ""),
    "bad yaml in a value": ("services:\n  web:\n    image: a\n    command: @: @: x\n", ""),
    "an unknown anchor": ("services: {web: {image: a, command: *@}}", ""),
    "an unknown tag": ("services: {web: {image: a, command: !@ x}}", ""),
    "a duplicate": ("services: {web: {image: a, environment: {A: '@', A: '@'}}}", ""),
    "a .env without a key": ("services: {web: {image: a}}", "A=1\n@ x\n"),
    "a .env with an open quote": ("services: {web: {image: a}}", 'A="@\nB=2\n'),
    "a .env with an odd key": ("services: {web: {image: a}}", "A-@=@\nB=2\n=@\n"),
    "a .env with an interpolation": ("services: {web: {image: a}}", "A=${@ x\n"),
    "a url": ("services: {web: {image: a, build: {context: 'https://u:@@h/x.git#a', args: @}}}", ""),
    "an external name": ("services: {web: {image: a, networks: [n]}}\nnetworks: {n: {external: '@'}}", ""),
}  # fmt: skip


@pytest.mark.parametrize("how", REFUSED)
def test_compose_own_refusal_shows_no_value(how: str, checkout: Checkout) -> None:
    compose_file, dotenv = REFUSED[how]
    checkout.commit(
        {"compose.yaml": compose_file.replace("@", S) + "\n", ".env": dotenv.replace("@", S) + "\n"}
    )
    try:
        words = text(checkout.detect(None).decision)
    except DualUpdateError as error:
        words = str(error)
    assert_silent(words, S)
    assert not re.search("Zq7|9Kw", words)


def test_a_refusal_still_says_what_and_where(checkout: Checkout) -> None:
    checkout.commit({"compose.yaml": "services:\n  web:\n    image: a\n    imag: b\n"})
    code, words = said(checkout)
    assert code == 2
    assert "compose.yaml" in words
    assert "services.web additional properties 'imag' not allowed" in words


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("${MISSING}", 'The "MISSING" variable is not set'),
        ("$MISSING", 'The "MISSING" variable is not set'),
        (f"abc${S}", "write `$$` for a dollar"),
    ],
)
def test_a_variable_that_is_not_set_is_named_unless_it_may_be_a_part_of_a_password(
    value: str, says: str, checkout: Checkout
) -> None:
    checkout.commit({"compose.yaml": f"services: {{web: {{image: a, environment: {{A: '{value}'}}}}}}\n"})
    code, words = said(checkout)
    assert code == 0
    assert says in words
    assert S not in words

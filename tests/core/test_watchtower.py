"""Every shape of answer is read as a claim, and every reason against a poke is named."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dual_update.core.model import Rendered
from dual_update.core.watchtower import (
    Counts,
    Running,
    WatchtowerPolicy,
    container_pattern,
    hazards,
    old_image_name,
    read_answer,
    read_policy,
    retry_after,
    why_not_poke,
)

KNOWN = WatchtowerPolicy(is_known=True)
LABEL = "com.centurylinklabs.watchtower"


def nested(**counts: object) -> str:
    return json.dumps({"summary": {"scanned": 1, "updated": 0, "failed": 0, **counts}, "api_version": "v1"})


@pytest.mark.parametrize(
    ("code", "body", "status"),
    [
        (200, nested(updated=1), "done"),
        (200, nested(updated=1, restarted=1, skipped=0), "done"),
        (200, nested(updated=0, restarted=1, skipped=0), "done"),
        (200, nested(updated=1, failed=1), "failed"),
        (200, nested(failed=1), "failed"),
        (200, nested(), "nothing"),
        (200, nested(scanned=0, skipped=1), "nothing"),
        (200, nested(scanned=0), "nothing"),
        (200, '{"status":"completed","scanned":3,"updated":2,"failed":0}', "done"),
        (200, '{"status":"completed","scanned":3,"updated":0,"failed":0}', "nothing"),
        (200, '{"status":"skipped","reason":"update in progress"}', "busy"),
        (200, "", "unknown"),
        (200, " \n", "unknown"),
        (200, "<html>Welcome</html>", "unknown"),
        (200, "null", "unknown"),
        (200, "[]", "unknown"),
        (200, "{}", "unknown"),
        (200, '{"summary": []}', "unknown"),
        (200, '{"summary": null}', "unknown"),
        (200, nested(updated="1"), "unknown"),
        (200, nested(updated=True), "unknown"),
        (200, nested(updated=-1), "unknown"),
        (200, nested(updated=1.5), "unknown"),
        (200, nested(skipped="many"), "unknown"),
        (200, "[" * 100_000, "unknown"),
        (200, '{"summary": {"scanned": ' + "9" * 5000 + "}}", "unknown"),
        (202, "Accepted", "unknown"),
        (204, "", "unknown"),
        (302, "", "failed"),
        (400, "", "failed"),
        (401, "", "failed"),
        (401, "missing or invalid API Key", "failed"),
        (403, "", "failed"),
        (404, "404 page not found", "failed"),
        (405, "Method Not Allowed", "failed"),
        (408, "Request Timeout", "unknown"),
        (413, "", "failed"),
        (429, '{"error":"another update is already running"}', "busy"),
        (429, '{"status":"skipped","reason":"another update"}', "busy"),
        (429, "Too Many Requests", "busy"),
        (429, "", "busy"),
        (500, "Internal Server Error", "unknown"),
        (502, "<html>", "unknown"),
        (503, "Service Unavailable", "busy"),
        (504, "", "unknown"),
    ],
)
def test_an_answer_means(code: int, body: str, status: str) -> None:
    answer = read_answer(code, {}, body)
    assert answer.status == status
    assert answer.detail.endswith(".")
    assert "\n" not in answer.detail


def test_counts_are_handed_on_and_what_was_not_counted_stays_unknown() -> None:
    assert read_answer(200, {}, nested(updated=1)).counts == Counts(1, 1, 0, None, None)
    assert read_answer(200, {}, nested(restarted=2, skipped=3)).counts == Counts(1, 0, 0, 2, 3)
    assert read_answer(202, {}, "Accepted").counts is None


def test_only_the_empty_200_has_no_report() -> None:
    assert not read_answer(200, {}, "").has_report
    assert read_answer(200, {}, "<html>").has_report
    assert read_answer(204, {}, "").has_report


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": " 0 "}, 0.0),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:28:30 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers: Mapping[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
    assert read_answer(429, headers, "").retry_after_seconds == seconds


def test_a_strangers_words_are_cut_and_cleaned() -> None:
    detail = read_answer(500, {}, "\n\x1b[31mfatal\x07 " + "x" * 1000).detail
    assert "\x1b" not in detail
    assert "\x07" not in detail
    assert "fatal" in detail
    assert len(detail) < 250


def test_patterns_and_old_names() -> None:
    assert container_pattern("shop-web-1") == "shop-web-1"
    assert container_pattern("shop.example_web-1") == r"shop\.example_web-1"
    for wrong in ("a|b", "a,b", "", "a", "/web", "web\n", ".*", "^web", "wéb"):
        assert container_pattern(wrong) is None, wrong
    assert old_image_name("shop/web:1.4") == "shop/web"
    assert old_image_name("ghcr.io/shop/web") == "ghcr.io/shop/web"
    assert old_image_name("registry:5000/web:1") is None


# --- policy ----------------------------------------------------------------------------------------


def test_a_policy_is_read_or_unknown() -> None:
    told = {"cleanup": True, "label_enable": True, "scope": "shop", "monitor_only": False, "new_one": 1}
    assert read_policy(json.dumps({"config": told})) == WatchtowerPolicy(
        is_known=True, has_cleanup=True, needs_label=True, scope="shop"
    )
    for garbage in (
        "",
        "<html>",
        "[]",
        '{"config": 1}',
        '{"config": {"cleanup": "no"}}',
        '{"config": {"scope": 1}}',
    ):
        assert read_policy(garbage) == WatchtowerPolicy()


def test_clean_up_is_a_hazard_and_a_reason() -> None:
    assert hazards(KNOWN) == ()
    assert "WATCHTOWER_CLEANUP=false" in hazards(replace(KNOWN, has_cleanup=True))[0]
    assert "does not tell" in hazards(WatchtowerPolicy())[0]
    assert "way back" in str(why_not_poke("web", shop(), replace(KNOWN, has_cleanup=True)))


# --- reasons ---------------------------------------------------------------------------------------


def shop(service: Mapping[str, Any] | None = None, **rest: Any) -> Rendered:
    """A project `shop` with a plain service `web`, to which `service` is added; `rest` is the project's."""
    services = {"web": {"image": "shop/web:1", "networks": {"default": None}, **(service or {})}}
    return Rendered(name="shop", services={**services, **rest.pop("services", {})}, **rest)


def test_a_plain_service_can_be_poked() -> None:
    running = Running("docker.io/shop/web:1", "running", {}, (), {"PATH": "/bin"})
    assert why_not_poke("web", shop(), KNOWN) is None
    assert why_not_poke("web", shop(), WatchtowerPolicy()) is None
    assert why_not_poke("web", shop(), KNOWN, running) is None


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"build": {"context": "/src"}}, "built here"),
        ({"image": "shop/web:1@sha256:" + "a" * 64}, "pinned"),
        ({"pull_policy": "never"}, "pull policy"),
        ({"pull_policy": "build"}, "pull policy"),
        ({"platform": "linux/arm64"}, "platform"),
        ({"provider": {"type": "model"}}, "provider"),
        ({"use_api_socket": True}, "socket"),
        ({"post_start": [{"command": ["true"]}]}, "post_start"),
        ({"pre_stop": [{"command": ["true"]}]}, "pre_stop"),
        ({"volumes": [{"type": "volume", "target": "/data"}]}, "anonymous volume `/data`"),
        ({"scale": 2}, "2 replicas"),
        ({"deploy": {"replicas": 3}}, "3 replicas"),
        ({"deploy": {"update_config": {"order": "start-first"}}}, "start-first"),
        ({"labels": {LABEL: "true"}}, "Watchtower itself"),
        ({"labels": {f"{LABEL}.enable": "false"}}, "`enable`"),
        ({"labels": {f"{LABEL}.monitor-only": "true"}}, "monitor-only"),
        ({"labels": {f"{LABEL}.no-pull": "true"}}, "no-pull"),
        ({"labels": {f"{LABEL}.cooldown-delay": "24h"}}, "cooldown-delay"),
        ({"labels": {f"{LABEL}.scope": "other"}}, "scope is `other`"),
    ],
)
def test_a_service_that_loses_something_is_not_poked(service: Mapping[str, Any], words: str) -> None:
    assert words in str(why_not_poke("web", shop(service), KNOWN))


@pytest.mark.parametrize(
    "service",
    [
        {"volumes": [{"type": "volume", "source": "kept", "target": "/data"}]},
        {
            "volumes": [
                {"type": "bind", "source": "/src/data", "target": "/data"},
                {"type": "tmpfs", "target": "/t"},
            ]
        },
        {"pull_policy": "always"},
        {"scale": 1, "deploy": {"update_config": {"order": "stop-first"}}},
        {"labels": {f"{LABEL}.enable": "true"}},
        {"network_mode": "service:gate"},
        {"stop_grace_period": "1m0s", "stop_signal": "SIGQUIT"},
    ],
)
def test_a_service_that_loses_nothing_is_poked(service: Mapping[str, Any]) -> None:
    assert why_not_poke("web", shop(service), KNOWN) is None


@pytest.mark.parametrize("kind", ["config", "secret"])
@pytest.mark.parametrize("source", [{"content": "x"}, {"environment": "X"}, {"external": True}, None])
def test_what_is_no_file_would_be_missing(kind: str, source: Mapping[str, Any] | None) -> None:
    resources = {} if source is None else {"one": source}
    rendered = shop({f"{kind}s": [{"source": "one", "target": "/one"}]}, **{f"{kind}s": resources})
    assert f"{kind} `one`" in str(why_not_poke("web", rendered, KNOWN))
    bound = shop({f"{kind}s": [{"source": "one"}]}, **{f"{kind}s": {"one": {"file": "/src/one"}}})
    assert why_not_poke("web", bound, KNOWN) is None


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"network_mode": "service:web"}, "shares its network"),
        ({"network_mode": "container:shop-web-1"}, "shares its network"),
        ({"ipc": "service:web"}, "shares its ipc"),
        ({"pid": "service:web"}, "shares its pid"),
        ({"volumes_from": ["web"]}, "takes its volumes"),
        ({"volumes_from": ["web:ro"]}, "takes its volumes"),
        ({"volumes_from": ["container:shop-web-1:rw"]}, "takes its volumes"),
        ({"depends_on": {"web": {"condition": "service_started", "restart": True}}}, "asks to be restarted"),
    ],
)
def test_a_service_that_others_hang_on_to_is_not_poked(other: Mapping[str, Any], words: str) -> None:
    rendered = shop(services={"tail": {"image": "shop/tail:1", **other}})
    assert f"`tail` {words}" in str(why_not_poke("web", rendered, KNOWN))
    sleeping = shop(services={"tail": {"image": "shop/tail:1", "profiles": ["debug"], **other}})
    assert why_not_poke("web", sleeping, KNOWN) is None, "a service that does not run holds on to nothing"


def test_plain_dependants_are_no_reason() -> None:
    others = {
        "tail": {"image": "t:1", "depends_on": {"web": {"condition": "service_started"}}},
        "side": {"image": "s:1", "network_mode": "service:website", "volumes_from": ["website"]},
    }
    assert why_not_poke("web", shop(services=others), KNOWN) is None


@pytest.mark.parametrize(
    ("running", "words"),
    [
        (Running("shop/web:2"), "never moves a tag"),
        (Running("shop/web@sha256:" + "a" * 64), "never moves a tag"),
        (Running("shop/web:1", "restarting"), "is restarting"),
        (Running("shop/web:1", "exited"), "is exited"),
        (Running("shop/web:1", labels={f"{LABEL}.enable": "no"}), "`enable`"),
        (Running("shop/web:1", image_volumes=["/data/"]), "keeps `/data/` in an anonymous volume"),
        (Running("shop/web:1", image_environment={"MODE": "plain"}), "`MODE`"),
    ],
)
def test_what_runs_speaks_too(running: Running, words: str) -> None:
    rendered = shop({"environment": {"MODE": "plain", "WHO": "ada"}})
    reason = str(why_not_poke("web", rendered, KNOWN, running))
    assert words in reason
    assert "plain" not in reason, "a value is never shown"


@pytest.mark.parametrize(
    "service",
    [
        {"volumes": [{"type": "volume", "source": "kept", "target": "/data"}]},
        {"volumes": [{"type": "bind", "source": "/src/x", "target": "/data/"}]},
        {"tmpfs": ["/data:size=1m"]},
        {"tmpfs": "/data"},
    ],
)
def test_a_volume_of_the_image_that_the_model_covers_is_no_reason(service: Mapping[str, Any]) -> None:
    assert why_not_poke("web", shop(service), KNOWN, Running("shop/web:1", image_volumes=["/data"])) is None


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (replace(KNOWN, is_monitor_only=True), "only monitors"),
        (replace(KNOWN, has_no_pull=True), "not to pull"),
        (replace(KNOWN, has_no_restart=True), "not to restart"),
        (replace(KNOWN, needs_label=True), "`enable` is missing"),
        (replace(KNOWN, scope="shop"), "scope is `none`, Watchtower's is `shop`"),
    ],
)
def test_a_setup_that_would_not_do_it(policy: WatchtowerPolicy, words: str) -> None:
    assert words in str(why_not_poke("web", shop(), policy))


def test_labels_that_fit_the_setup() -> None:
    labels = {f"{LABEL}.enable": "true", f"{LABEL}.scope": "shop"}
    policy = replace(KNOWN, needs_label=True, scope="shop")
    assert why_not_poke("web", shop({"labels": labels}), policy) is None
    assert why_not_poke("web", shop(), policy, Running("shop/web:1", labels=labels)) is None
    assert why_not_poke("web", shop({"labels": labels}), WatchtowerPolicy()) is None, "its scope is not known"


@pytest.mark.parametrize(
    "service",
    [
        {"network_mode": "host"},
        {"mac_address": "02:42:ac:11:00:02"},
        {"networks": {"default": {"mac_address": "02:42:ac:11:00:02"}}},
        {"stop_grace_period": "1m0s"},
        {"stop_signal": "SIGQUIT"},
    ],
)
def test_a_watchtower_that_tells_nothing_is_taken_for_an_old_one(service: Mapping[str, Any]) -> None:
    assert "older Watchtowers" in str(why_not_poke("web", shop(service), WatchtowerPolicy()))
    assert why_not_poke("web", shop(service), KNOWN) is None

"""The REST API as its callers meet it."""

from pathlib import Path
from typing import Any

import pytest

from dual_update.core.errors import Timeout, WorldError
from dual_update.core.job import Ending
from dual_update.edges.web import answers
from tests.edges.web.conftest import MakeWeb, Web

FINGERPRINT = "plan-" + "c" * 40
PROBLEM = "application/problem+json"


def problem(answer: Any, status: int) -> str:
    """The sentence of a problem; nothing else is in it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == PROBLEM
    content = answer.json()
    assert content["status"] == status
    assert set(content) == {"type", "title", "status", "detail"}
    assert "Traceback" not in answer.text
    return str(content["detail"])


def test_status_plan_and_health(web: Web) -> None:
    status = web.client.get("/api/status").json()
    answers.Status.model_validate(status)
    assert status["pending"]["plan_fingerprint"] == FINGERPRINT
    assert status["last_check"]["outcome"] == "ok"
    plan = web.client.get("/api/plan").json()
    answers.Plan.model_validate(plan)
    assert plan["pending"]["steps"][0]["op"] == "roll"
    assert web.client.get("/api/health").json()["status"] == "ok"


def test_an_answer_is_as_new_as_what_it_tells(web: Web) -> None:
    """Answers are kept as bytes: none may outlive what it was made of."""
    first = web.client.get("/api/status").json()
    assert first["queued"] == 0
    web.as_owner("POST", "/api/check")
    assert web.client.get("/api/status").json()["queued"] == 1
    web.as_owner("POST", "/api/pause", json={"reason": "a freeze"})
    assert web.client.get("/api/status").json()["paused"]["reason"] == "a freeze"
    assert web.client.get("/api/history").json()["runs"] == []
    web.stage.ran("r-1", None)
    assert [one["outcome"] for one in web.client.get("/api/history").json()["runs"]] == [None]
    web.stage.memory.finish("r-1", "succeeded", {})
    assert [one["outcome"] for one in web.client.get("/api/history").json()["runs"]] == ["succeeded"]


def test_long_work_is_accepted_and_followed(web: Web) -> None:
    web.stage.processes.endings = [Ending(0, "It is done.", "r-1", "succeeded")]
    web.stage.processes.on_start = lambda job: web.stage.ran("r-1")
    asked = web.as_owner("POST", "/api/apply", json={"fingerprint": FINGERPRINT, "approved_by": "Ada"})
    assert asked.status_code == 202
    answers.Job.model_validate(asked.json())
    location = asked.headers["Location"]
    assert web.client.get(location).json()["state"] == "queued"
    web.service.turn()
    run = web.client.get(location).json()
    answers.Run.model_validate(run)
    assert (run["state"], run["outcome"], run["run"]) == ("ended", "succeeded", "r-1")
    with web.client.stream("GET", f"{location}/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    kinds = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert kinds == ["step", "step", "end"]
    seq = run["journal"][0]["seq"]
    with web.client.stream("GET", f"{location}/events", headers={"Last-Event-ID": str(seq)}) as stream:
        assert "".join(stream.iter_text()).count("event: step") == 1


def test_the_fingerprint_must_be_the_one_that_is_pending(web: Web) -> None:
    answer = web.as_owner("POST", "/api/apply", json={"fingerprint": "plan-of-yesterday"})
    assert "another fingerprint" in problem(answer, 409)
    assert web.as_owner("POST", "/api/apply", json={"fingerprint": "decision-" + "c" * 40}).status_code == 202


def test_the_same_key_is_the_same_run(web: Web) -> None:
    wish = {"fingerprint": FINGERPRINT}
    places = {
        web.as_owner("POST", "/api/apply", json=wish, headers={"Idempotency-Key": "k"}).headers["Location"]
        for _ in range(5)
    }
    assert len(places) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/nothing", None, 404),
        ("GET", "/api/runs/nothing", None, 404),
        ("GET", "/api/runs/nothing/events", None, 404),
        ("GET", "/api/runs/" + "x" * 200, None, 422),
        ("DELETE", "/api/status", None, 405),
        ("POST", "/api/status", None, 405),
        ("GET", "/api/apply", None, 405),
        ("POST", "/api/apply", {}, 422),
        ("POST", "/api/apply", {"fingerprint": "x"}, 422),
        ("POST", "/api/apply", {"fingerprint": FINGERPRINT, "force": True}, 422),
        ("POST", "/api/apply", [], 422),
        ("POST", "/api/rollback", {"run": "nothing"}, 404),
        ("POST", "/api/pause", {"until": "soon"}, 422),
        ("GET", "/api/history?page=0", None, 422),
        ("GET", "/api/history?size=1000", None, 422),
        ("GET", "/api/history?outcome=maybe", None, 422),
        ("GET", "/api/history?before=nonsense", None, 422),
        ("GET", "/api/history?since=yesterday", None, 422),
    ],
)
def test_mistakes_are_sentences(web: Web, method: str, path: str, body: Any, status: int) -> None:
    answer = web.as_owner(method, path, json=body) if body is not None else web.as_owner(method, path)
    assert problem(answer, status)


def test_what_was_sent_is_not_sent_back(web: Web) -> None:
    """A body may hold a secret that went to the wrong address."""
    answer = web.as_owner("POST", "/api/apply", json={"fingerprint": ["hunter2-hunter2"], "x": "hunter3"})
    assert "hunter" not in problem(answer, 422)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"null", b'{"fingerprint": "' + b"a" * 100_000 + b'"}']
)
def test_bodies_that_are_none(web: Web, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = web.as_owner("POST", "/api/apply", content=body, headers=headers)
    assert answer.status_code in {413, 422}
    assert answer.headers["Content-Type"] == PROBLEM


def test_a_body_without_a_length_is_counted_as_it_comes(web: Web) -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"x" * 1024

    answer = web.as_owner("POST", "/api/apply", content=endless())
    assert problem(answer, 413)


def test_faults_are_sentences(make_web: MakeWeb) -> None:
    web = make_web()
    for error, status in ((WorldError("The disk is full."), 503), (Timeout("It took too long."), 503),
                          (RuntimeError("a secret"), 500)):  # fmt: skip
        web.app.state.service = Broken(error)
        told = problem(web.as_owner("GET", "/api/runs/x"), status)
        assert "secret" not in told
    assert not any("a secret" in str(line) for line in web.stage.lines)


class Broken:
    """A service in which everything goes wrong in the same way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, name: str) -> None:
        raise self._error


def test_a_stream_that_loses_the_history_says_so(web: Web) -> None:
    web.stage.ran("r-1", None)
    answers_left = [([], False), ([{"seq": 1}], False)]

    class Losing:
        def events(self, name: str, after: int = 0) -> Any:
            if not answers_left:
                raise WorldError("The disk is gone.")
            return answers_left.pop(0)

    web.app.state.service = Losing()
    with web.client.stream("GET", "/api/runs/r-1/events") as stream:
        text = "".join(stream.iter_text())
    assert "event: step" in text
    assert text.endswith('event: fault\ndata: {"detail": "The disk is gone."}\n\n')


def test_a_broken_history_is_told_and_the_rest_goes_on(make_web: MakeWeb, tmp_path: Any) -> None:
    web = make_web()
    web.stage.reader.close()
    web.stage.memory.close()
    (web.stage.folder / "state.sqlite3").write_bytes(b"no database" * 1000)
    for end in ("-wal", "-shm"):
        (web.stage.folder / f"state.sqlite3{end}").unlink(missing_ok=True)
    assert "damaged" in problem(web.client.get("/api/history"), 503)
    assert web.client.get("/api/status").status_code == 200
    assert web.client.get("/api/health").status_code == 200


def test_the_document_names_every_route_and_who_may_use_it(make_web: MakeWeb) -> None:
    near, far = make_web(), make_web(host="0.0.0.0", base_url="http://192.0.2.7:8090")
    document = near.client.get("/api/openapi.json").json()
    assert {
        ("get", "/api/status"),
        ("get", "/api/history"),
        ("post", "/api/check"),
        ("post", "/api/apply"),
        ("post", "/api/rollback"),
        ("get", "/api/health"),
        ("get", "/api/runs/{name}"),
        ("get", "/api/runs/{name}/events"),
        ("get", "/metrics"),
        ("post", "/webhooks/github"),
    } <= {(method, path) for path, one in document["paths"].items() for method in one}
    for path, one in document["paths"].items():
        for method, operation in one.items():
            if method == "post" and path.startswith("/api/"):
                assert operation["security"] == [{"token": []}]
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    for path, one in document["paths"].items():
        for method in one:
            assert f"`{method.upper()} {path}`" in page, "docs/api.md names every route"
    remote = far.as_owner("GET", "/api/openapi.json").json()["paths"]
    assert remote["/api/status"]["get"]["security"] == [{"token": []}]
    assert remote["/api/health"]["get"]["security"] == []

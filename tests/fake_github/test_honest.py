"""schemathesis keeps the fake honest: whatever GitHub's description allows to be asked, the fake answers as
it says, or refuses. It never breaks, and never answers what GitHub would not."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.fake_github.server import FakeGitHub
from tests.fake_github.spec import document

NAME = "its-DeFine/shop"
EXAMPLES = 6
"""Requests for each of the operations: some 300 in all."""


def furnished(github: FakeGitHub) -> dict[str, list[str]]:
    """A repository in which every kind of thing is there; what its names are, by the name of a parameter."""
    repo = github.repository(NAME)
    tip = repo.commit_of("main") or ""
    head = repo.put("update/one", {"compose.yml": "services: {}\n"})
    import httpx

    def made(path: str, body: Any) -> Any:
        url = f"{github.url}/repos/{NAME}{path}"
        return httpx.post(url, json=body, headers={"Authorization": "token a-token"}, timeout=10).json()

    issue = made("/issues", {"title": "t", "labels": ["dual-update"]})["number"]
    pull = made("/pulls", {"title": "t", "head": "update/one", "base": "main"})["number"]
    comment = made(f"/issues/{issue}/comments", {"body": "text"})["id"]
    deployed = {"ref": head, "auto_merge": False, "required_contexts": [], "task": "dual-update"}
    deployment = made("/deployments", deployed)["id"]
    repo.environments["production"] = repo.made("environment", name="production", protection_rules=[])
    return {
        "owner": [NAME.partition("/")[0]],
        "repo": [NAME.partition("/")[2]],
        "branch": ["main", "update/one"],
        "issue_number": [str(issue), str(pull)],
        "pull_number": [str(pull)],
        "comment_id": [str(comment)],
        "deployment_id": [str(deployment)],
        "commit_sha": [tip, head],
        "tree_sha": [tip, "main"],
        "sha": [head],
        "basehead": ["main...update/one", "update/one...main"],
        "path": ["README.md", "docs/new.md"],
        "name": ["dual-update"],
        "environment_name": ["production"],
    }


def spent(index: int, several: list[str]) -> str:
    """Real names in turn; every third time one that is not there."""
    return "none" if index % 3 == 2 else several[index % len(several)]


@pytest.mark.timeout(150)
def test_whatever_is_asked_the_fake_answers_as_github_describes(tmp_path: Path) -> None:
    schema = schemathesis.openapi.from_dict(document())
    answers: Counter[int] = Counter()
    lost: list[str] = []
    with FakeGitHub(tmp_path, strict=False) as github:
        known = furnished(github)
        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def ask(case: Any) -> None:
                for name in case.path_parameters:
                    several = known.get(name, ["heads/update/one" if "/git/" in case.path else "main"])
                    case.path_parameters[name] = (
                        several[0] if name in {"owner", "repo"} else spent(sum(answers.values()), several)
                    )
                try:
                    answer = case.call(
                        base_url=github.url, headers={"Authorization": "token a-token"}, timeout=20
                    )
                except requests.ConnectionError:
                    lost.append(f"{case.method} {case.path} {case.body!r} {github.violations[-1:]}")
                    return
                answers[answer.status_code] += 1

            ask()
        broken = [one for one in github.violations if one.startswith(("answer to", "the fake failed"))]
    assert not broken + lost, "\n".join(broken + lost)
    assert sum(answers.values()) >= 150
    assert {200, 201, 404, 422} <= set(answers), answers

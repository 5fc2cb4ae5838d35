"""Deployments and their statuses, commit statuses, environments, dispatches."""

from typing import Any

from tests.fake_github.calls import Answer, Call, Failed, answers, invalid


def _commit(call: Call, ref: str) -> str:
    commit = call.repo.commit_of(ref)
    if commit is None:
        raise Failed(422, f"No ref found for: {ref}")
    return commit


def _deployment(call: Call) -> dict[str, Any]:
    number = call.number("deployment_id")
    if number not in call.repo.deployments:
        raise Failed(404, "Not Found")
    return call.repo.deployments[number]


@answers("GET", "/deployments")
def list_deployments(call: Call) -> Answer:
    def fits(one: dict[str, Any]) -> bool:
        keys = ("sha", "ref", "task", "environment")
        return all(call.query.get(key, "none") in ("none", one[key]) for key in keys)

    listed = [one for one in reversed(call.repo.deployments.values()) if fits(one)]
    return Answer(200, call.repo.shown(listed))


@answers("POST", "/deployments")
def make_deployment(call: Call) -> Answer:
    """GitHub's defaults bite: without `auto_merge: false` it merges the default branch into the ref, and
    without `required_contexts: []` every check of the commit must be green."""
    repo, body = call.repo, call.body
    commit = _commit(call, body["ref"])
    if body.get("auto_merge", True) and repo.commit_of(body["ref"]) != repo.commit_of(repo.default_branch):
        return Answer(
            202, {"message": f"Auto-merged {repo.default_branch} into {body['ref']} on deployment."}
        )
    states = {one["context"]: one["state"] for one in repo.statuses.get(commit, [])}
    required = body.get("required_contexts")
    for context in states if required is None else required:
        if states.get(context) != "success":
            raise Failed(409, f"Conflict: Commit status checks failed for {body['ref']}.")
    made = repo.made(
        "deployment",
        sha=commit,
        ref=body["ref"],
        task=body.get("task") or "deploy",
        payload=body.get("payload") or {},
        environment=body.get("environment") or "production",
        description=body.get("description"),
        creator=repo.user(call.login),
    )
    made["url"] = f"{repo.url}/deployments/{made['id']}"
    made["statuses_url"] = f"{made['url']}/statuses"
    repo.deployments[made["id"]] = made
    return Answer(201, made)


@answers("GET", "/deployments/{deployment_id}")
def get_deployment(call: Call) -> Answer:
    return Answer(200, _deployment(call))


@answers("GET", "/deployments/{deployment_id}/statuses")
def list_deployment_statuses(call: Call) -> Answer:
    deployment = _deployment(call)
    return Answer(200, call.repo.shown(call.repo.deployment_statuses.get(deployment["id"], [])[::-1]))


@answers("POST", "/deployments/{deployment_id}/statuses")
def add_deployment_status(call: Call) -> Answer:
    deployment, body = _deployment(call), call.body
    if len(body.get("description") or "") > 140:
        raise invalid("DeploymentStatus", "description")
    made = call.repo.made(
        "deployment-status",
        state=body["state"],
        description=body.get("description") or "",
        target_url=body.get("log_url") or body.get("target_url") or "",
        log_url=body.get("log_url") or "",
        environment=deployment["environment"],
        deployment_url=deployment["url"],
        creator=call.repo.user(call.login),
    )
    statuses = call.repo.deployment_statuses
    statuses.setdefault(deployment["id"], []).append(made)
    if body["state"] == "success" and body.get("auto_inactive", True):
        for other in call.repo.deployments.values():
            is_before = other["id"] < deployment["id"] and other["environment"] == deployment["environment"]
            if is_before and other["environment"] != "production" and statuses.get(other["id"]):
                statuses[other["id"]].append({**made, "id": call.repo.tick(), "state": "inactive"})
    return Answer(201, made)


@answers("POST", "/statuses/{sha}")
def add_status(call: Call) -> Answer:
    sha = call.values["sha"]
    if call.repo.commit_of(sha) != sha:
        raise Failed(422, f"No commit found for SHA: {sha}")
    if len(call.body.get("description") or "") > 140:
        raise invalid(
            "Status", "description", "custom", "description is too long (maximum is 140 characters)"
        )
    made = call.repo.made(
        "status",
        state=call.body["state"],
        description=call.body.get("description"),
        target_url=call.body.get("target_url"),
        context=call.body.get("context") or "default",
        creator=call.repo.user(call.login),
        url=f"{call.repo.url}/statuses/{sha}",
    )
    call.repo.statuses.setdefault(sha, []).append(made)
    return Answer(201, made)


@answers("GET", "/commits/{ref}/status")
def combined_status(call: Call) -> Answer:
    commit = call.repo.commit_of(call.values["ref"])
    if commit is None:
        raise Failed(404, "Not Found")
    newest = {one["context"]: one for one in call.repo.statuses.get(commit, [])}
    states = {one["state"] for one in newest.values()}
    state = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    fields = ("url", "avatar_url", "id", "node_id", "state", "description", "target_url", "context")
    return Answer(
        200,
        {
            "state": state,
            "sha": commit,
            "total_count": len(newest),
            "statuses": [
                {key: one[key] for key in (*fields, "created_at", "updated_at")} for one in newest.values()
            ],
            "repository": call.repo.described("minimal-repository"),
            "commit_url": f"{call.repo.url}/commits/{commit}",
            "url": f"{call.repo.url}/commits/{commit}/status",
        },
    )


@answers("GET", "/environments/{environment_name}")
def get_environment(call: Call) -> Answer:
    name = call.values["environment_name"]
    if name not in call.repo.environments:
        raise Failed(404, "Not Found")
    return Answer(200, call.repo.environments[name])


def dispatched(call: Call, **what: Any) -> Answer:
    call.repo.dispatches.append(what)
    return Answer(204)


@answers("POST", "/dispatches")
def repository_dispatch(call: Call) -> Answer:
    if len(call.body.get("client_payload") or {}) > 10:
        raise Failed(422, "Invalid request.\n\nNo more than 10 properties are allowed in client_payload.")
    payload = dict(call.body.get("client_payload") or {})
    return dispatched(call, event=call.body["event_type"], inputs=payload)


@answers("POST", "/actions/workflows/{workflow_id}/dispatches")
def workflow_dispatch(call: Call) -> Answer:
    _commit(call, call.body["ref"])
    inputs = dict(call.body.get("inputs") or {})
    return dispatched(call, workflow=call.values["workflow_id"], ref=call.body["ref"], inputs=inputs)

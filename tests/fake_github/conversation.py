"""Issues, comments, labels, pull requests and reviews."""

from typing import Any

from tests.fake_github.calls import Answer, Call, Failed, answers, invalid
from tests.fake_github.repository import Repository

LONGEST_BODY = 65_536
LONGEST_TITLE = 256


def _found(things: dict[int, dict[str, Any]], number: int) -> dict[str, Any]:
    if number not in things:
        raise Failed(404, "Not Found")
    return things[number]


def _issues_on(call: Call) -> None:
    if not call.repo.has_issues:
        raise Failed(410, "Issues are disabled for this repo")


def _checked(call: Call, resource: str) -> None:
    if len(call.body.get("body") or "") > LONGEST_BODY:
        message = f"body is too long (maximum is {LONGEST_BODY} characters)"
        raise invalid(resource, "body", "custom", message)
    title = call.body.get("title")
    if title is not None and not 0 < len(str(title).strip()) <= LONGEST_TITLE:
        raise invalid(
            resource, "title", "custom", f"title is too long (maximum is {LONGEST_TITLE} characters)"
        )


def _association(call: Call) -> str:
    owner = call.repo.name.partition("/")[0]
    return "OWNER" if call.login == owner else "NONE"


def _labelled(repo: Repository, names: list[Any]) -> list[dict[str, Any]]:
    labels = []
    for one in names:
        name = one["name"] if isinstance(one, dict) else one
        labels.append(repo.labels.get(name.lower()) or add_label(repo, name))
    return labels


def add_label(repo: Repository, name: str, color: str = "ededed", description: str = "") -> dict[str, Any]:
    label = repo.made(
        "label",
        name=name,
        color=color,
        description=description or None,
        default=False,
        url=f"{repo.url}/labels/{name}",
    )
    for unknown in ("created_at", "updated_at"):
        label.pop(unknown)
    repo.labels[name.lower()] = label
    return label


def _issue(repo: Repository, number: int, call: Call) -> dict[str, Any]:
    url = f"{repo.url}/issues/{number}"
    return repo.made(
        "issue",
        number=number,
        title=str(call.body.get("title") or ""),
        body=call.body.get("body"),
        user=repo.user(call.login),
        author_association=_association(call),
        state="open",
        state_reason=None,
        labels=_labelled(repo, call.body.get("labels") or []),
        comments=0,
        url=url,
        html_url=f"{repo.html_url}/issues/{number}",
        repository_url=repo.url,
        comments_url=f"{url}/comments",
    )


@answers("GET", "/issues")
def list_issues(call: Call) -> Answer:
    """Newest first, pull requests among them, as GitHub has it."""
    wanted = call.query.get("state", "open")
    labels = {name.lower() for name in call.query.get("labels", "").split(",") if name}
    listed = [
        one
        for one in sorted(call.repo.issues.values(), key=lambda one: -one["number"])
        if wanted in ("all", one["state"]) and labels <= {label["name"].lower() for label in one["labels"]}
    ]
    if not call.repo.has_issues:
        listed = [one for one in listed if "pull_request" in one]
    if call.query.get("direction") == "asc":
        listed.reverse()
    return Answer(200, call.repo.shown(listed))


@answers("POST", "/issues")
def open_issue(call: Call) -> Answer:
    _issues_on(call)
    _checked(call, "Issue")
    number = call.repo.next_number()
    call.repo.issues[number] = _issue(call.repo, number, call)
    return Answer(201, call.repo.issues[number])


@answers("GET", "/issues/{issue_number}")
def get_issue(call: Call) -> Answer:
    return Answer(200, _found(call.repo.issues, call.number("issue_number")))


@answers("PATCH", "/issues/{issue_number}")
def edit_issue(call: Call) -> Answer:
    issue = _found(call.repo.issues, call.number("issue_number"))
    _checked(call, "Issue")
    _edit(call, issue)
    return Answer(200, issue)


def _edit(call: Call, thing: dict[str, Any]) -> None:
    repo = call.repo
    repo.tick()
    for key in ("title", "body"):
        if key in call.body:
            thing[key] = str(call.body[key]) if key == "title" else call.body[key]
    if "labels" in call.body:
        thing["labels"] = _labelled(repo, call.body["labels"])
    if "state" in call.body and call.body["state"] != thing["state"]:
        thing["state"] = call.body["state"]
        is_closed = thing["state"] == "closed"
        thing["closed_at"] = repo.now() if is_closed else None
        if "state_reason" in thing:
            thing["state_reason"] = call.body.get("state_reason") or (
                "completed" if is_closed else "reopened"
            )
    thing["updated_at"] = repo.now()


@answers("GET", "/issues/{issue_number}/comments")
def list_comments(call: Call) -> Answer:
    _found(call.repo.issues, call.number("issue_number"))
    url = f"{call.repo.url}/issues/{call.number('issue_number')}"
    return Answer(
        200, call.repo.shown([one for one in call.repo.comments.values() if one["issue_url"] == url])
    )


@answers("POST", "/issues/{issue_number}/comments")
def add_comment(call: Call) -> Answer:
    issue = _found(call.repo.issues, call.number("issue_number"))
    _checked(call, "IssueComment")
    number = issue["number"]
    comment = call.repo.made(
        "issue-comment",
        body=call.body["body"],
        user=call.repo.user(call.login),
        author_association=_association(call),
        issue_url=f"{call.repo.url}/issues/{number}",
    )
    comment["url"] = f"{call.repo.url}/issues/comments/{comment['id']}"
    comment["html_url"] = f"{issue['html_url']}#issuecomment-{comment['id']}"
    call.repo.comments[comment["id"]] = comment
    issue["comments"] += 1
    return Answer(201, comment)


@answers("GET", "/issues/comments/{comment_id}")
def get_comment(call: Call) -> Answer:
    return Answer(200, _found(call.repo.comments, call.number("comment_id")))


@answers("PATCH", "/issues/comments/{comment_id}")
def edit_comment(call: Call) -> Answer:
    comment = _found(call.repo.comments, call.number("comment_id"))
    _checked(call, "IssueComment")
    call.repo.tick()
    comment.update(body=call.body["body"], updated_at=call.repo.now())
    return Answer(200, comment)


@answers("DELETE", "/issues/comments/{comment_id}")
def delete_comment(call: Call) -> Answer:
    _found(call.repo.comments, call.number("comment_id"))
    del call.repo.comments[call.number("comment_id")]
    return Answer(204)


@answers("GET", "/issues/{issue_number}/labels")
def labels_of(call: Call) -> Answer:
    return Answer(200, _found(call.repo.issues, call.number("issue_number"))["labels"])


@answers("POST", "/issues/{issue_number}/labels")
def add_labels(call: Call) -> Answer:
    issue = _found(call.repo.issues, call.number("issue_number"))
    has = {label["name"] for label in issue["labels"]}
    new = _labelled(call.repo, list(call.body.get("labels") or []))
    issue["labels"] += [label for label in new if label["name"] not in has]
    return Answer(200, issue["labels"])


@answers("GET", "/labels")
def list_labels(call: Call) -> Answer:
    return Answer(200, list(call.repo.labels.values()))


@answers("GET", "/labels/{name}")
def get_label(call: Call) -> Answer:
    if call.values["name"].lower() not in call.repo.labels:
        raise Failed(404, "Not Found")
    return Answer(200, call.repo.labels[call.values["name"].lower()])


@answers("POST", "/labels")
def make_label(call: Call) -> Answer:
    name = call.body["name"]
    if name.lower() in call.repo.labels:
        raise invalid("Label", "name", "already_exists")
    color, description = call.body.get("color") or "ededed", call.body.get("description") or ""
    if len(description) > 100:
        raise invalid("Label", "description", "custom", "description is too long (maximum is 100 characters)")
    return Answer(201, add_label(call.repo, name, color, description))


# Pull requests


def _side(repo: Repository, branch: str, sha: str) -> dict[str, Any]:
    owner = repo.name.partition("/")[0]
    return {
        "label": f"{owner}:{branch}",
        "ref": branch,
        "sha": sha,
        "user": repo.user(owner),
        "repo": repo.described("repository"),
    }


def seen(repo: Repository, pull: dict[str, Any]) -> dict[str, Any]:
    """The pull request as it is now: its branches may have moved since it was opened."""
    head, base = repo.commit_of(pull["head"]["ref"]), repo.commit_of(pull["base"]["ref"])
    issue = repo.issues[pull["number"]]
    if pull["state"] == "open" and head and base and repo.contains(base, head):
        # Someone pushed it into the base by hand: GitHub calls that merged, too. Emptied, it is closed.
        issue.update(state="closed", closed_at=repo.now())
        if repo.contains(base, pull["head"]["sha"]):
            repo.brought[pull["number"]] = commits_of(repo, pull)
            pull.update(merged=True, merged_at=repo.now(), merge_commit_sha=base)
    elif pull["state"] == "open" and head and base:
        pull["head"]["sha"], pull["base"]["sha"] = head, base
        pull["mergeable"] = repo.merged(base, head, "test") is not None
        pull["mergeable_state"] = "clean" if pull["mergeable"] else "dirty"
    pull.update({key: issue[key] for key in ("title", "body", "state", "closed_at", "labels", "updated_at")})
    return pull


def commits_of(repo: Repository, pull: dict[str, Any]) -> frozenset[str]:
    """The commits that a pull request brings."""
    return frozenset(repo.git("rev-list", f"{pull['base']['sha']}..{pull['head']['sha']}").split())


@answers("GET", "/pulls")
def list_pulls(call: Call) -> Answer:
    wanted, head, base = (call.query.get(key, "") for key in ("state", "head", "base"))
    listed = [
        pull
        for pull in (seen(call.repo, one) for one in reversed(call.repo.pulls.values()))
        if (wanted or "open") in ("all", pull["state"])
        and (":" not in head or head == pull["head"]["label"])
        and (not base or base == pull["base"]["ref"])
    ]
    return Answer(200, call.repo.shown(listed))


@answers("POST", "/pulls")
def open_pull(call: Call) -> Answer:
    repo, body = call.repo, call.body
    if not repo.may_create_pulls:
        raise Failed(403, "GitHub Actions is not permitted to create or approve pull requests.")
    _checked(call, "PullRequest")
    head, base = body["head"].rpartition(":")[2], body["base"]
    tips = {name: repo.commit_of(branch) for name, branch in (("head", head), ("base", base))}
    for name, tip in tips.items():
        if tip is None:
            raise invalid("PullRequest", name)
    if any(
        one["state"] == "open" and one["head"]["ref"] == head and one["base"]["ref"] == base
        for one in repo.pulls.values()
    ):
        message = f"A pull request already exists for {repo.name.partition('/')[0]}:{head}."
        raise invalid("PullRequest", "head", "custom", message)
    if not repo.git("rev-list", f"{tips['base']}..{tips['head']}"):
        raise invalid("PullRequest", "head", "custom", f"No commits between {base} and {head}")
    number = repo.next_number()
    issue = repo.issues[number] = _issue(repo, number, call)
    issue["html_url"] = f"{repo.html_url}/pull/{number}"
    url = f"{repo.url}/pulls/{number}"
    issue["pull_request"] = {
        "url": url,
        "html_url": issue["html_url"],
        "diff_url": f"{issue['html_url']}.diff",
        "patch_url": f"{issue['html_url']}.patch",
    }
    repo.pulls[number] = repo.made(
        "pull-request",
        number=number,
        url=url,
        html_url=issue["html_url"],
        title=issue["title"],
        body=issue["body"],
        user=issue["user"],
        author_association=issue["author_association"],
        state="open",
        draft=bool(body.get("draft")),
        head=_side(repo, head, str(tips["head"])),
        base=_side(repo, base, str(tips["base"])),
        merged=False,
        merge_commit_sha=None,
        merged_at=None,
    )
    return Answer(201, seen(repo, repo.pulls[number]))


@answers("GET", "/pulls/{pull_number}")
def get_pull(call: Call) -> Answer:
    return Answer(200, seen(call.repo, _found(call.repo.pulls, call.number("pull_number"))))


@answers("PATCH", "/pulls/{pull_number}")
def edit_pull(call: Call) -> Answer:
    pull = _found(call.repo.pulls, call.number("pull_number"))
    _checked(call, "PullRequest")
    if pull["merged"] and call.body.get("state") == "open":
        raise invalid(
            "PullRequest", "state", "custom", "state cannot be changed. The pull request is merged."
        )
    is_opened = call.body.get("state") == "open" and pull["state"] == "closed"
    tip = call.repo.commit_of(pull["head"]["ref"])
    if is_opened and (tip is None or not call.repo.contains(tip, pull["head"]["sha"])):
        message = "state cannot be changed. The branch was force-pushed or deleted."
        raise invalid("PullRequest", "state", "custom", message)
    sides = [pull["head"]["ref"], pull["base"]["ref"]]
    if is_opened and any(
        [one["head"]["ref"], one["base"]["ref"]] == sides and one["state"] == "open"
        for one in call.repo.pulls.values()
    ):
        message = "state cannot be changed. There is already an open pull request from this branch."
        raise invalid("PullRequest", "state", "custom", message)
    _edit(call, call.repo.issues[pull["number"]])
    if "base" in call.body:
        pull["base"] = _side(call.repo, call.body["base"], str(call.repo.commit_of(call.body["base"])))
    return Answer(200, seen(call.repo, pull))


@answers("GET", "/pulls/{pull_number}/files")
def pull_files(call: Call) -> Answer:
    repo = call.repo
    pull = _found(repo.pulls, call.number("pull_number"))
    lines = repo.git(
        "diff", "--no-renames", "--raw", "--abbrev=40", f"{pull['base']['sha']}...{pull['head']['sha']}"
    )
    return Answer(200, [changed_file(repo, line) for line in lines.splitlines()])


def changed_file(repo: Repository, line: str) -> dict[str, Any]:
    """One line of `git diff --raw` as GitHub tells it."""
    head, _, path = line.partition("\t")
    _, _, before, after, kind = head.split()
    status = {"A": "added", "D": "removed"}.get(kind[0], "modified")
    entry = repo.made("diff-entry", filename=path, sha=before if kind[0] == "D" else after, status=status)
    return {
        key: value for key, value in entry.items() if key not in {"id", "node_id", "created_at", "updated_at"}
    }


@answers("GET", "/pulls/{pull_number}/merge")
def is_merged(call: Call) -> Answer:
    if not _found(call.repo.pulls, call.number("pull_number"))["merged"]:
        raise Failed(404, "Not Found")
    return Answer(204)


@answers("PUT", "/pulls/{pull_number}/merge")
def merge_pull(call: Call) -> Answer:
    """A rebase merge makes one commit here, as of a branch with one."""
    repo = call.repo
    pull = seen(repo, _found(repo.pulls, call.number("pull_number")))
    how = call.body.get("merge_method") or "merge"
    if pull["state"] != "open" or not pull["mergeable"]:
        raise Failed(405, "Pull Request is not mergeable")
    if how not in repo.merge_methods:
        name = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}[how]
        raise Failed(405, f"{name} are not allowed on this repository.")
    if call.body.get("sha") and call.body["sha"] != pull["head"]["sha"]:
        raise Failed(409, "Head branch was modified. Review and try the merge again.")
    base, head = pull["base"]["sha"], pull["head"]["sha"]
    repo.brought[pull["number"]] = commits_of(repo, pull)
    new = repo.merged(base, head, call.body.get("commit_title") or f"Merge pull request #{pull['number']}")
    assert new is not None
    if how != "merge":
        new = repo.commit(f"{new}^{{tree}}", f"{pull['title']} (#{pull['number']})", base)
    repo.git("update-ref", f"refs/heads/{pull['base']['ref']}", new, base)
    repo.tick()
    repo.issues[pull["number"]].update(state="closed", closed_at=repo.now())
    pull.update(merged=True, merged_at=repo.now(), merge_commit_sha=new, merged_by=repo.user(call.login))
    seen(repo, pull)
    return Answer(200, {"merged": True, "message": "Pull Request successfully merged", "sha": new})


@answers("GET", "/pulls/{pull_number}/reviews")
def list_reviews(call: Call) -> Answer:
    _found(call.repo.pulls, call.number("pull_number"))
    return Answer(200, call.repo.reviews.get(call.number("pull_number"), []))


@answers("POST", "/pulls/{pull_number}/reviews")
def review(call: Call) -> Answer:
    pull = _found(call.repo.pulls, call.number("pull_number"))
    event = call.body.get("event") or "PENDING"
    if event == "APPROVE" and call.login == pull["user"]["login"]:
        raise Failed(422, "Unprocessable Entity: Can not approve your own pull request")
    made = call.repo.made(
        "pull-request-review",
        user=call.repo.user(call.login),
        body=call.body.get("body") or "",
        state={"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED"}.get(event, "COMMENTED"),
        commit_id=pull["head"]["sha"],
        author_association=_association(call),
    )
    call.repo.reviews.setdefault(pull["number"], []).append(made)
    return Answer(200, made)

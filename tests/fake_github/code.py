"""Branches, refs, commits, trees, files, merges: answered from a real git repository."""

import base64
from typing import Any
from urllib.parse import quote

from tests.fake_github.calls import Answer, Call, Failed, answers
from tests.fake_github.conversation import changed_file, commits_of, seen
from tests.fake_github.repository import Repository
from tests.fake_github.spec import filled


def _commit(call: Call, ref: str, status: int = 404) -> str:
    commit = call.repo.commit_of(ref)
    if commit is None:
        raise Failed(status, "Not Found" if status == 404 else f"No commit found for SHA: {ref}")
    return commit


def _git_commit(repo: Repository, sha: str) -> dict[str, Any]:
    tree, parents, message = repo.git("show", "-s", "--format=%T%n%P%n%B", sha).split("\n", 2)
    person = {"name": "fake", "email": "fake@example.org", "date": "2026-01-01T00:00:00Z"}
    at = f"{repo.url}/git"
    return filled(
        "git-commit",
        {
            "sha": sha,
            "url": f"{at}/commits/{sha}",
            "html_url": f"{repo.html_url}/commit/{sha}",
            "message": message.rstrip("\n"),
            "author": person,
            "committer": person,
            "tree": {"sha": tree, "url": f"{at}/trees/{tree}"},
            "parents": [
                {"sha": p, "url": f"{at}/commits/{p}", "html_url": f"{repo.html_url}/commit/{p}"}
                for p in parents.split()
            ],
            "verification": filled("verification", {"verified": False, "reason": "unsigned"}, repo.host),
        },
        repo.host,
    )


def _commit_view(repo: Repository, sha: str) -> dict[str, Any]:
    git = _git_commit(repo, sha)
    inner = {
        "url": git["url"],
        "author": git["author"],
        "committer": git["committer"],
        "message": git["message"],
        "comment_count": 0,
        "tree": git["tree"],
        "verification": git["verification"],
    }
    given = {"sha": sha, "url": f"{repo.url}/commits/{sha}", "commit": inner, "parents": git["parents"]}
    return filled("commit", {**given, "author": repo.user("fake"), "committer": repo.user("fake")}, repo.host)


def _ref(repo: Repository, name: str, sha: str) -> dict[str, Any]:
    return {
        "ref": name,
        "node_id": f"R_{quote(name)}",
        "url": f"{repo.url}/git/{name}",
        "object": {"type": "commit", "sha": sha, "url": f"{repo.url}/git/commits/{sha}"},
    }


@answers("GET", "")
def get_repository(call: Call) -> Answer:
    return Answer(200, call.repo.described("full-repository"))


@answers("GET", "/branches/{branch}")
def get_branch(call: Call) -> Answer:
    name, repo = call.values["branch"], call.repo
    sha = repo.git("rev-parse", "--verify", "--quiet", f"refs/heads/{name}", codes=(0, 1)).strip()
    if not sha:
        raise Failed(404, "Branch not found")
    url = f"{repo.url}/branches/{quote(name)}"
    return Answer(
        200,
        {
            "name": name,
            "commit": _commit_view(repo, sha),
            "_links": {"html": f"{repo.html_url}/tree/{name}", "self": url},
            "protected": name in repo.protected or bool(repo.rulesets.get(name)),
            "protection": {"enabled": name in repo.protected},
            "protection_url": f"{url}/protection",
        },
    )


def _ask_plan(repo: Repository) -> None:
    if not repo.has_rules:
        raise Failed(403, "Upgrade to GitHub Pro or make this repository public to enable this feature.")


@answers("GET", "/branches/{branch}/protection")
def get_protection(call: Call) -> Answer:
    _ask_plan(call.repo)
    if call.values["branch"] not in call.repo.protected:
        raise Failed(404, "Branch not protected")
    return Answer(200, call.repo.protected[call.values["branch"]])


@answers("GET", "/commits/{commit_sha}/pulls")
def pulls_of_commit(call: Call) -> Answer:
    sha = _commit(call, call.values["commit_sha"])
    repo = call.repo
    tip = repo.commit_of(repo.default_branch)
    is_in = tip is not None and repo.contains(tip, sha)
    listed = []
    for pull in (seen(repo, one) for one in repo.pulls.values()):
        if pull["merged"]:
            has = sha in (pull["merge_commit_sha"], *repo.brought[pull["number"]])
        else:
            has = not is_in and sha in commits_of(repo, pull)
        listed += [pull] if has else []
    return Answer(200, repo.shown(listed))


@answers("GET", "/commits/{commit_sha}/branches-where-head")
def branches_where_head(call: Call) -> Answer:
    repo, sha = call.repo, _commit(call, call.values["commit_sha"])
    lines = repo.git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads").splitlines()
    names = [name for name, tip in (line.rsplit(" ", 1) for line in lines) if tip == sha]
    url = f"{repo.url}/commits/{sha}"
    return Answer(
        200,
        [
            {"name": name, "commit": {"sha": sha, "url": url}, "protected": name in repo.protected}
            for name in names
        ],
    )


@answers("GET", "/rules/branches/{branch}")
def rules_of_branch(call: Call) -> Answer:
    _ask_plan(call.repo)
    return Answer(200, call.repo.rulesets.get(call.values["branch"], []))


@answers("GET", "/compare/{basehead}")
def compare(call: Call) -> Answer:
    repo = call.repo
    first, _, second = call.values["basehead"].partition("...")
    base, head = _commit(call, first), _commit(call, second)
    common = repo.git("merge-base", base, head, codes=(0, 1)).strip()
    if not common:
        raise Failed(404, f"No common ancestor between {first} and {second}.")
    ahead = repo.git("rev-list", "--reverse", f"{base}..{head}").split()
    behind = repo.git("rev-list", f"{head}..{base}").split()
    # Without `page`, the newest 250 come at once; with it, the oldest first, page by page.
    size, page = min(int(call.query.get("per_page", 250)), 250), int(call.query.get("page", 1))
    first_shown = (page - 1) * size
    words = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}
    files = repo.git("diff", "--no-renames", "--raw", "--abbrev=40", common, head).splitlines()
    given = {
        "status": words.get((bool(ahead), bool(behind)), "identical"),
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
        "base_commit": _commit_view(repo, base),
        "merge_base_commit": _commit_view(repo, common),
        "commits": [_commit_view(repo, sha) for sha in ahead[first_shown : first_shown + size]],
        "files": [changed_file(repo, line) for line in files[:300]] if page == 1 else [],
    }
    return Answer(200, filled("commit-comparison", given, repo.host))


def _file(repo: Repository, ref: str, path: str) -> dict[str, Any] | None:
    line = repo.git("ls-tree", "-l", ref, "--", path).strip()
    if not line:
        return None
    head, _, name = line.partition("\t")
    _, kind, sha, size = head.split()
    if kind != "blob" or name != path:
        return None
    content = repo.git("cat-file", "blob", sha).encode()
    url = f"{repo.url}/contents/{quote(path)}"
    html, git = f"{repo.html_url}/blob/{ref}/{quote(path)}", f"{repo.url}/git/blobs/{sha}"
    return {
        "type": "file",
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "size": int(size),
        "encoding": "base64",
        "content": base64.encodebytes(content).decode(),
        "url": url,
        "html_url": html,
        "git_url": git,
        "download_url": f"{repo.html_url}/raw/{ref}/{quote(path)}",
        "_links": {"self": url, "html": html, "git": git},
    }


@answers("GET", "/contents/{path}")
def get_contents(call: Call) -> Answer:
    ref = _commit(call, call.query.get("ref") or call.repo.default_branch)
    found = _file(call.repo, ref, call.values["path"])
    if found is None:
        raise Failed(404, "Not Found")
    return Answer(200, found)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        raise Failed(422, "content is not valid Base64.") from None


@answers("PUT", "/contents/{path}")
def put_contents(call: Call) -> Answer:
    repo, path = call.repo, call.values["path"]
    branch = call.body.get("branch") or repo.default_branch
    tip = repo.commit_of(branch)
    old = _file(repo, tip, path) if tip else None
    if old and old["sha"] != call.body.get("sha"):
        raise Failed(409, f"{path} does not match {call.body.get('sha')}")
    text = _decoded(call.body["content"]).decode("utf-8", "replace")
    sha = repo.put(branch, {path: text}, call.body["message"])
    git = _git_commit(repo, sha)
    return Answer(200 if old else 201, {"content": _file(repo, sha, path), "commit": git})


@answers("POST", "/git/blobs")
def make_blob(call: Call) -> Answer:
    text = call.body["content"]
    content = _decoded(text) if call.body.get("encoding") == "base64" else text.encode()
    sha = call.repo.git("hash-object", "-w", "--stdin", feed=content).strip()
    return Answer(201, {"sha": sha, "url": f"{call.repo.url}/git/blobs/{sha}"})


@answers("POST", "/git/trees")
def make_tree(call: Call) -> Answer:
    """`mode: 160000` with a commit moves a submodule's pointer."""
    repo, entries = call.repo, {}
    if call.body.get("base_tree"):
        for line in repo.git("ls-tree", "-r", call.body["base_tree"]).splitlines():
            head, _, path = line.partition("\t")
            entries[path] = head
    for one in call.body["tree"]:
        if one.get("sha", "") is None:
            entries.pop(one["path"], None)
            continue
        sha = one.get("sha") or repo.git("hash-object", "-w", "--stdin", feed=one["content"].encode()).strip()
        entries[one["path"]] = f"{one.get('mode', '100644')} {one.get('type', 'blob')} {sha}"
    return Answer(201, _tree(repo, repo.tree(entries), recursive=False))


def _tree(repo: Repository, sha: str, *, recursive: bool) -> dict[str, Any]:
    entries = []
    for line in repo.git("ls-tree", *(["-r", "-t"] if recursive else []), sha).splitlines():
        head, _, path = line.partition("\t")
        mode, kind, inner = head.split()
        entries.append({"path": path, "mode": mode, "type": kind, "sha": inner})
    return {"sha": sha, "url": f"{repo.url}/git/trees/{sha}", "tree": entries, "truncated": False}


@answers("GET", "/git/trees/{tree_sha}")
def get_tree(call: Call) -> Answer:
    name = call.repo.commit_of(call.values["tree_sha"]) or call.values["tree_sha"]
    sha = call.repo.git("rev-parse", "--verify", "--quiet", f"{name}^{{tree}}", codes=(0, 1, 128)).strip()
    if not sha:
        raise Failed(404, "Not Found")
    return Answer(200, _tree(call.repo, sha, recursive=bool(call.query.get("recursive"))))


@answers("POST", "/git/commits")
def make_commit(call: Call) -> Answer:
    for parent in call.body.get("parents") or []:
        _commit(call, parent, 422)
    sha = call.repo.commit(call.body["tree"], call.body["message"], *(call.body.get("parents") or []))
    return Answer(201, _git_commit(call.repo, sha))


@answers("GET", "/git/commits/{commit_sha}")
def get_commit(call: Call) -> Answer:
    return Answer(200, _git_commit(call.repo, _commit(call, call.values["commit_sha"])))


@answers("GET", "/git/ref/{ref}")
def get_ref(call: Call) -> Answer:
    name = f"refs/{call.values['ref']}"
    sha = call.repo.git("rev-parse", "--verify", "--quiet", name, codes=(0, 1)).strip()
    if not sha:
        raise Failed(404, "Not Found")
    return Answer(200, _ref(call.repo, name, sha))


@answers("GET", "/git/matching-refs/{ref}")
def matching_refs(call: Call) -> Answer:
    lines = call.repo.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    refs = [line.split() for line in lines]
    return Answer(200, [_ref(call.repo, n, s) for n, s in refs if n.startswith(f"refs/{call.values['ref']}")])


@answers("POST", "/git/refs")
def make_ref(call: Call) -> Answer:
    name, sha = call.body["ref"], _commit(call, call.body["sha"], 422)
    if not name.startswith("refs/") or name.count("/") < 2:
        raise Failed(422, "Reference name must start with 'refs/' and contain at least one more slash.")
    if call.repo.git("rev-parse", "--verify", "--quiet", name, codes=(0, 1)).strip():
        raise Failed(422, "Reference already exists")
    call.repo.git("update-ref", name, sha)
    return Answer(201, _ref(call.repo, name, sha))


@answers("PATCH", "/git/refs/{ref}")
def move_ref(call: Call) -> Answer:
    name, sha = f"refs/{call.values['ref']}", _commit(call, call.body["sha"], 422)
    old = call.repo.git("rev-parse", "--verify", "--quiet", name, codes=(0, 1)).strip()
    if not old:
        raise Failed(422, "Reference does not exist")
    if not call.body.get("force") and call.repo.git("rev-list", f"{sha}..{old}"):
        raise Failed(422, "Update is not a fast forward")
    call.repo.git("update-ref", name, sha, old)
    return Answer(200, _ref(call.repo, name, sha))


@answers("DELETE", "/git/refs/{ref}")
def delete_ref(call: Call) -> Answer:
    name = f"refs/{call.values['ref']}"
    if not call.repo.git("rev-parse", "--verify", "--quiet", name, codes=(0, 1)).strip():
        raise Failed(422, "Reference does not exist")
    call.repo.git("update-ref", "-d", name)
    return Answer(204)


@answers("POST", "/merges")
def merge(call: Call) -> Answer:
    repo = call.repo
    base, head = _commit(call, call.body["base"]), _commit(call, call.body["head"])
    if not repo.git("rev-list", f"{base}..{head}"):
        return Answer(204)
    new = repo.merged(base, head, call.body.get("commit_message") or f"Merge {call.body['head']}")
    if new is None:
        raise Failed(409, "Merge conflict")
    repo.git("update-ref", f"refs/heads/{call.body['base']}", new, base)
    return Answer(201, _commit_view(repo, new))

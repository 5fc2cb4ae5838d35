"""History, files and branches through the adapter: read in pages, written once, and said when it fails."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.github import Patience, PyGithubRepository
from dual_update.core.errors import DualUpdateError
from dual_update.usecases.github_ports import BranchRules
from tests.fake_github import faults
from tests.fake_github.faults import Fault
from tests.fake_github.fixtures import NAME
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub, Token

QUICK = Patience(
    answer_seconds=20,
    rate_limit_seconds=0.5,
    pause_seconds=0.01,
    between_reads_seconds=0,
    between_writes_seconds=0,
    reads=2,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeGitHub]:
    with FakeGitHub(tmp_path, prefix="/api/v3") as github:
        github.repository(NAME)
        yield github


@pytest.fixture
def github(server: FakeGitHub) -> PyGithubRepository:
    return PyGithubRepository(server.url, NAME, "a-token", patience=QUICK)


def test_a_comparison_is_read_to_its_end(github: PyGithubRepository, repo: Repository) -> None:
    base = repo.commit_of("main") or ""
    tree, at = repo.git("rev-parse", f"{base}^{{tree}}").strip(), base
    for number in range(130):
        at = repo.commit(tree, f"{number}", at)
    repo.git("update-ref", "refs/heads/main", at)
    compared = github.compare(base, "main")
    assert compared is not None
    assert (compared.relation, len(compared.commits), compared.is_complete) == ("ahead", 130, True)
    assert (compared.commits[0].parents, compared.commits[-1].id) == ((base,), at)
    back = github.compare("main", base)
    assert back is not None
    assert (back.relation, back.commits) == ("behind", ())
    assert github.compare(base, "none") is None


def test_three_hundred_files_may_be_more(github: PyGithubRepository, repo: Repository) -> None:
    base = repo.commit_of("main") or ""
    head = repo.put("main", {f"f{number}": "x" for number in range(300)})
    compared = github.compare(base, head)
    assert compared is not None
    assert not compared.is_complete


def test_pointers_and_files(github: PyGithubRepository, repo: Repository) -> None:
    base = repo.put("main", {"deep/er/file.txt": "text\n"})
    tree = github.moved_pointer(base, "deep/app", "1" * 40)
    planted = github.make_commit(tree, "point", base)
    assert github.pointer(planted, "deep/app") == "1" * 40
    for path in ("deep", "deep/er", "deep/er/file.txt", "none", "deep/none/x", "deep/er/file.txt/x"):
        assert github.pointer(planted, path) is None
    assert github.file(planted, "deep/er/file.txt") == "text\n"
    assert github.file(planted, "none") is None
    assert github.pointer("2" * 40, "deep/app") is None
    assert github.commit("2" * 40) is None
    found = github.commit(planted)
    assert found is not None
    assert (found.parents, found.tree, found.message) == ((base,), tree, "point")


def test_a_branch_is_made_moved_and_dropped_whatever_happens_to_the_answers(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    first = repo.commit_of("main") or ""
    second = repo.put("main", {"x": "y"})
    server.faults.add(faults.bad_gateway(method="POST", path="/git/refs$", after=True))
    github.set_branch("dual-update/x", second)
    assert github.branches_at(second) == ["dual-update/x", "main"]
    server.faults.add(faults.lost(method="PATCH", path="/git/refs/", after=True))
    github.set_branch("dual-update/x", first)
    assert repo.commit_of("dual-update/x") == first
    writes = len(server.written())
    github.set_branch("dual-update/x", first)
    assert len(server.written()) == writes
    server.faults.add(faults.bad_gateway(method="DELETE", path="/git/refs/", after=True))
    github.drop_branch("dual-update/x")
    github.drop_branch("dual-update/x")
    assert repo.commit_of("dual-update/x") is None


def test_a_branch_that_another_run_made_meanwhile(server: FakeGitHub, repo: Repository) -> None:
    first = repo.commit_of("main") or ""
    second = repo.put("main", {"x": "y"})

    class Late(PyGithubRepository):
        """Another run makes the branch between our look and our write."""

        def _send(self, method: str, path: str, body: Any) -> Any:
            if method == "POST" and path == "/git/refs":
                repo.git("update-ref", "refs/heads/dual-update/x", first)
            return super()._send(method, path, body)

    Late(server.url, NAME, "a-token", patience=QUICK).set_branch("dual-update/x", second)
    assert repo.commit_of("dual-update/x") == second


@pytest.mark.parametrize("is_protected", [False, True])
def test_a_plan_that_knows_no_rules_has_none(
    github: PyGithubRepository, repo: Repository, is_protected: bool
) -> None:
    """A private repository on GitHub's Free plan, also one that was protected under an earlier plan."""
    if is_protected:
        repo.protected["main"] = {"enabled": True}
    repo.has_rules = False
    assert github.rules("main") == BranchRules(is_protected=False, approvals=0, is_known=True)


@pytest.mark.parametrize(
    "message",
    [
        "Resource not accessible by integration",
        "Upgrade to GitHub Enterprise to enable this feature.",
        "Not here. Upgrade to GitHub Pro or make this repository public to enable this feature.",
        "",
    ],
)
def test_any_other_refusal_leaves_the_rules_unknown(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository, message: str
) -> None:
    server.faults.add(Fault(403, message, path="/rules/branches/"))
    with pytest.raises(DualUpdateError, match="rules/branches/main"):
        github.rules("main")
    repo.protected["main"] = {"enabled": True}
    server.faults.add(Fault(403, message, path="/protection$"))
    assert github.rules("main") == BranchRules(is_protected=True, approvals=0, is_known=False)


READS: dict[str, Callable[[PyGithubRepository], object]] = {
    "history": lambda it: it.compare("main", "main"),
    "pulls of a commit": lambda it: it.pulls_of("1" * 40),
    "rules": lambda it: it.rules("main"),
    "environment": lambda it: it.protection("production"),
    "reviews": lambda it: it.reviews(1),
    "default branch": lambda it: it.default_branch(),
}
WRITES: dict[str, Callable[[PyGithubRepository], object]] = {
    "tree": lambda it: it.moved_pointer("main", "app", "1" * 40),
    "commit": lambda it: it.make_commit("1" * 40, "m", "1" * 40),
    "branch": lambda it: it.set_branch("dual-update/x", "1" * 40),
    "status": lambda it: it.set_status("1" * 40, "c", "success", "d"),
}
FAULTS: list[tuple[Fault, str]] = [
    (faults.unauthorized(times=99), "valid github-token"),
    (faults.forbidden(times=99), "Give the job `permissions: "),
    (faults.rate_limited(times=99), "used up until"),
    (faults.rate_limited(429, times=99), "used up until"),
    (faults.secondary_limit(times=99), "run again in 120 seconds"),
    (faults.bad_gateway(times=99), "try again later"),
    (faults.moved(times=99), "renamed or moved"),
    (faults.web_page(times=99), "web page instead of JSON"),
    (faults.lost(times=99), "connection to GitHub broke"),
]


@pytest.mark.parametrize(("fault", "says"), FAULTS)
def test_whatever_is_asked_a_failure_says_in_one_sentence_what_to_change(
    server: FakeGitHub, github: PyGithubRepository, fault: Fault, says: str
) -> None:
    for name, ask in {**READS, **WRITES}.items():
        server.faults.waiting.clear()
        server.faults.add(fault)
        with pytest.raises(DualUpdateError) as refused:
            ask(github)
        told = str(refused.value)
        assert says in told, name
        assert "a-token" not in told
        assert told.count("\n") <= 1


def test_missing_permissions_are_named(server: FakeGitHub) -> None:
    server.tokens["reader"] = Token(permissions={"contents": "read"})
    github = PyGithubRepository(server.url, NAME, "reader", patience=QUICK)
    for ask, permission in (
        (READS["environment"], "actions: read"),
        (READS["reviews"], "pull-requests: read"),
        (WRITES["status"], "statuses: write"),
        (WRITES["commit"], "contents: write"),
        (lambda it: it.deploy("1" * 40, "shop", "r", "production"), "deployments: write"),
        (lambda it: it.dispatch("ci.yml", "main", {}), "actions: write"),
    ):
        with pytest.raises(DualUpdateError, match=permission):
            ask(github)

"""README's table of what happens when: every row names a behaviour, and here is the test that shows it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

SHOWN_BY = {
    "push to another branch: structure, code, or both": (
        "edges/test_action.py::test_structure_on_another_branch_gets_an_issue_and_a_pull_request"
    ),
    "push to another branch: images only": (
        "edges/test_action.py::test_an_image_on_another_branch_gets_an_issue_only"
    ),
    "the same on `update/**` with `auto-approve`, where branch protection allows": (
        "edges/test_action.py::test_an_image_on_an_update_branch_is_merged_and_dispatched_where_auto_approve_allows"
    ),
    "pull request": (
        "edges/test_action.py::test_a_pull_request_gets_one_comment_changed_in_place_and_a_status"
    ),
    "pull request of a fork": (
        "edges/test_action.py::test_a_forks_pull_request_gets_the_summary_and_nothing_is_written"
    ),
    "merge or push to the deploy branch: images only": (
        "edges/test_action.py::test_an_image_pushed_to_the_deploy_branch_is_deployed_by_itself"
    ),
    "merge to the deploy branch: anything else, by approved pull requests": (
        "edges/test_action.py::test_structure_that_came_by_an_approved_pull_request_is_deployed"
    ),
    "the same without one, or what can lose data": (
        "edges/test_action.py::test_what_can_lose_data_is_never_deployed_without_a_person"
    ),
    "an environment that does not exist, or has no reviewers": (
        "edges/test_action.py::test_structure_pushed_without_a_pull_request_asks_a_person_or_waits"
    ),
    "code whose image is built elsewhere": (
        "edges/test_action.py::test_code_whose_image_is_built_elsewhere_waits_for_that_build"
    ),
    "schedule: new commits in a submodule": (
        "edges/test_action_report.py::test_on_schedule_what_the_submodule_has_is_offered"
    ),
    "schedule: new content under a tag": (
        "edges/test_action.py::test_on_schedule_the_host_looks_for_new_content_under_tags"
    ),
    "the deploy went well": (
        "edges/test_action_report.py::test_success_closes_the_issue_sets_deployment_and_status"
    ),
    "the deploy failed": (
        "edges/test_action_report.py::test_failure_leaves_the_issue_open_with_evidence_and_offers_one_way_back"
    ),
    "the host says not now: busy, changed by hand, another commit runs than was judged": (
        "edges/test_action_report.py::test_what_the_host_did_not_begin_is_told_once"
    ),
    "*Run workflow*, rollback": "e2e/test_going_back.py::test_a_rollback_by_hand_is_told_and_stays",
    "several stages in `multi-cluster.yml`": (
        "edges/test_action.py::test_a_stage_that_failed_holds_the_later_ones"
    ),
    "code in a submodule": (
        "e2e/test_example_dual_repo.py::test_both_are_approved_and_the_deploy_waits_for_both"
    ),
    "a new branch at a commit that the deploy branch has": (
        "edges/test_action_late.py::test_a_new_branch_at_the_tip_deploys_and_announces_nothing"
    ),
    "a run that comes late: its branch has moved on": (
        "edges/test_action_late.py::test_a_late_run_leaves_the_clusters_issue_to_the_newer_commit"
    ),
    "the same event twice": "edges/test_action.py::test_the_same_event_twice_says_nothing_new",
}


def rows() -> list[str]:
    _, _, table = (ROOT / "README.md").read_text().partition("| what happens | what follows |\n|---|---|\n")
    lines = table.partition("\n\n")[0].splitlines()
    return [re.split(r" \| ", line.removeprefix("| "))[0] for line in lines]


def test_every_row_has_its_test() -> None:
    assert rows() == list(SHOWN_BY)


def test_the_tests_are_there() -> None:
    for place in SHOWN_BY.values():
        file, _, name = place.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, place

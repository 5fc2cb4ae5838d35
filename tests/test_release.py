"""scripts/release with real git: what is fit to be released, and which tags move where."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
IMAGE = "ghcr.io/its-define/dual-update@sha256:" + "a" * 64
OTHER = IMAGE.replace("a" * 64, "b" * 64)
CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [{}] - 2026-11-24\n\n- first thing\n\n## [0.0.1]\n"
)


class Project:
    """A repository with its origin, as a release meets them."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.folder = folder / "origin.git", folder / "project"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.origin), at=folder)
        self.git("clone", "--quiet", str(self.origin), str(self.folder), at=folder)
        (self.folder / "scripts").mkdir()
        shutil.copy(ROOT / "scripts/release", self.folder / "scripts/release")

    def git(self, *words: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *words], cwd=at or self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def merge(self, version: str) -> str:
        """A commit on the main branch that says so many things about this version."""
        (self.folder / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "{version}"\n')
        (self.folder / "CHANGELOG.md").write_text(CHANGELOG.format(version))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", version)
        self.git("push", "--quiet", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, *, is_annotated: bool = False) -> None:
        self.git("tag", *(["--annotate", "--message", name] if is_annotated else []), name)
        self.git("push", "--quiet", "origin", name)

    def release(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["scripts/release", *words], cwd=self.folder, capture_output=True, text=True, check=False
        )

    def publish(self, version: str, image: str = IMAGE, *, is_annotated: bool = False) -> str:
        """The whole way of one version; the commit that its tag names in the end."""
        self.merge(version)
        self.tag(f"v{version}", is_annotated=is_annotated)
        done = self.release("tags", f"v{version}", image)
        assert done.returncode == 0, done.stderr
        self.git("fetch", "--quiet", "--tags", "--force")
        return self.git("rev-parse", f"v{version}^{{commit}}")

    def tags(self) -> dict[str, str]:
        """What the origin's tags name, in the end."""
        found = {}
        for line in self.git("ls-remote", "--tags", "origin").splitlines():
            commit, name = line.split("\t")
            found[name.removeprefix("refs/tags/").removesuffix("^{}")] = commit
        return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_merged_version_with_its_changelog_is_fit(project: Project) -> None:
    project.merge("1.2.3")
    project.tag("v1.2.3")
    done = project.release("check", "v1.2.3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["version=1.2.3", "is_prerelease=false", "is_newest=true"]
    assert project.release("notes", "v1.2.3").stdout.strip() == "- first thing"


def test_a_pre_release_may_be_written_as_python_writes_it(project: Project) -> None:
    project.merge("1.2.3rc1")
    text = (project.folder / "CHANGELOG.md").read_text().replace("1.2.3rc1", "1.2.3-rc.1")
    (project.folder / "CHANGELOG.md").write_text(text)
    project.tag("v1.2.3-rc.1")
    done = project.release("check", "v1.2.3-rc.1")
    assert done.stdout.splitlines()[1:] == ["is_prerelease=true", "is_newest=false"], done.stderr


def other_version(project: Project) -> None:
    project.merge("1.2.4")
    project.tag("v1.2.3")


def no_section(project: Project) -> None:
    project.merge("1.2.3")
    (project.folder / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3]\n\n\n## [1.2.2]\n- x\n")
    project.tag("v1.2.3")


def not_merged(project: Project) -> None:
    project.merge("1.2.2")
    (project.folder / "pyproject.toml").write_text('version = "1.2.3"\n')
    (project.folder / "CHANGELOG.md").write_text(CHANGELOG.format("1.2.3"))
    project.git("commit", "--quiet", "--all", "--message", "mine alone")
    project.tag("v1.2.3")


def named_already(project: Project) -> None:
    project.merge("1.2.3")
    (project.folder / "image.digest").write_text(IMAGE)
    project.tag("v1.2.3")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (other_version, "pyproject.toml says 1.2.4, the tag says 1.2.3"),
        (no_section, "CHANGELOG.md has no section for 1.2.3"),
        (not_merged, "is not on the main branch"),
        (named_already, "image.digest is in the tree already"),
    ],
)
def test_what_is_not_fit(project: Project, prepare: Callable[[Project], None], words: str) -> None:
    prepare(project)
    done = project.release("check", "v1.2.3")
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr


@pytest.mark.parametrize("tag", ["v1", "1.2.3", "v1.2.3.4", "v01.2.3", "v1.2.3;id", "--help"])
def test_only_versions_are_released(project: Project, tag: str) -> None:
    assert project.release("check", tag).returncode == 1
    assert project.release("tags", tag, IMAGE).returncode == 1


@pytest.mark.parametrize("is_annotated", [False, True])
def test_the_tags_name_the_image_and_nothing_else_changes(project: Project, is_annotated: bool) -> None:
    released = project.publish("1.2.3", is_annotated=is_annotated)
    tags = project.tags()
    assert tags["v1.2.3"] == tags["v1.2"] == tags["v1"] == released
    assert project.git("show", "v1:image.digest") == IMAGE
    assert project.git("rev-parse", f"{released}^") == project.git("rev-parse", "origin/main")
    assert project.git("diff", "--name-only", f"{released}^", released) == "image.digest"
    assert "scripts/release" in project.git("ls-tree", "-r", "--name-only", released)


def test_floating_tags_never_go_back(project: Project) -> None:
    first = project.publish("1.9.0")
    second = project.publish("1.10.0")
    patch = project.publish("1.9.1")
    next_major = project.publish("2.0.0")
    project.merge("2.1.0rc1")
    project.tag("v2.1.0-rc.1")
    assert project.release("tags", "v2.1.0-rc.1", IMAGE).returncode == 0
    tags = project.tags()
    assert {name: tags[name] for name in ("v1", "v1.9", "v1.10", "v2", "v2.0")} == {
        "v1": second,
        "v1.9": patch,
        "v1.10": second,
        "v2": next_major,
        "v2.0": next_major,
    }
    assert tags["v1.9.0"] == first
    assert "v2.1" not in tags


def test_again_is_no_harm_and_another_image_is_refused(project: Project) -> None:
    project.publish("1.2.3")
    before = project.tags()
    assert project.release("tags", "v1.2.3", IMAGE).stdout == "already done\n"
    refused = project.release("tags", "v1.2.3", OTHER)
    assert (refused.returncode, "a released version does not change" in refused.stderr) == (1, True)
    assert project.release("tags", "v1.2.3", "ghcr.io/x/y:latest").returncode == 1
    assert project.tags() == before


def test_a_tag_that_was_moved_meanwhile_moves_nothing(project: Project) -> None:
    project.merge("1.2.3")
    project.tag("v1.2.3")
    project.git("push", "--quiet", "--force", "origin", f"{project.merge('1.2.4')}:refs/tags/v1.2.3")
    before = project.tags()
    done = project.release("tags", "v1.2.3", IMAGE)
    assert (done.returncode, "was moved meanwhile" in done.stderr) == (1, True)
    assert project.tags() == before


def test_a_refused_push_moves_none_of_the_tags(project: Project) -> None:
    """A rule of the repository that protects one of them."""
    hook = project.origin / "hooks/update"
    hook.write_text('#!/bin/sh\n[ "$1" != refs/tags/v1 ]\n')
    hook.chmod(0o755)
    project.merge("1.2.3")
    project.tag("v1.2.3")
    before = project.tags()
    assert project.release("tags", "v1.2.3", IMAGE).returncode != 0
    assert project.tags() == before


def test_the_workflow_asks_for_no_more_than_each_job_needs() -> None:
    """Who builds may not move tags, who moves tags may not push images, and nothing is built untested."""
    jobs = YAML(typ="safe", pure=True).load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    may_write = {
        name: {right for right, level in job["permissions"].items() if level == "write"}
        for name, job in jobs.items()
    }
    assert may_write == {
        "check": set(),
        "test": set(),
        "image": {"packages", "id-token", "attestations"},
        "publish": {"contents"},
    }
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "check": None,
        "test": "check",
        "image": ["check", "test"],
        "publish": ["check", "image"],
    }


@pytest.mark.parametrize(
    ("tag", "starts"),
    [("v1.2.3", True), ("v10.20.30", True), ("v1.2.3-rc.1", True), ("v1", False), ("v1.2", False)],
)
def test_a_floating_tag_that_moves_starts_no_release(tag: str, starts: bool) -> None:
    """Patterns as GitHub reads them: `+` is one or more of what stands before it, a dot is a dot."""
    workflow = YAML(typ="safe", pure=True).load((ROOT / ".github/workflows/release.yml").read_text())
    patterns = [one.replace(".", r"\.").replace("*", "[^/]*") for one in workflow["on"]["push"]["tags"]]
    assert any(re.fullmatch(one, tag) for one in patterns) == starts


def test_the_list_of_contents_is_what_the_lock_pins(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts/release", "sbom", tmp_path / "sbom.json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "sbom.json").read_text())
    pinned = dict(re.findall(r"^([\w.-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert made["bomFormat"] == "CycloneDX"
    assert {one["name"]: one["version"] for one in made["components"]} == pinned

"""Wrong input to `dual-update detect`: one clear message, the right exit code, and nothing changed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.repositories import Checkout, dual_update

GOOD = "services: {web: {image: 'web:1'}}\n"

Refused = Callable[..., str]


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    repo = Checkout(tmp_path / "shop")
    repo.commit({"compose.yml": GOOD, "sub/file": "x"})
    return repo


def everything_in(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def refused(tmp_path: Path, repo: Checkout) -> Iterator[Refused]:
    """Runs the command, which must end with exit code 2; returns what it says on standard error."""
    before: dict[str, tuple[int, bytes]] = {}

    def refused(*arguments: str, code: int = 2, cwd: Path | None = None, **env: str) -> str:
        before.update(everything_in(tmp_path))
        done = dual_update("detect", *arguments, cwd=cwd or repo.directory, env=env)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith("dual-update: ")
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 3, "short and calm"
        return done.stderr

    yield refused
    assert before, "the test ran nothing"
    assert everything_in(tmp_path) == before


def test_not_a_repository(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    words = refused("--repo", str(tmp_path / "plain"))
    assert f"{tmp_path / 'plain'} is not inside a git repository" in words
    assert "--repo DIR" in words


def test_no_directory_at_all(refused: Refused, tmp_path: Path) -> None:
    assert "nowhere is not a directory" in refused("--repo", str(tmp_path / "nowhere"))


def test_a_file_as_the_repository(refused: Refused, repo: Checkout) -> None:
    assert "compose.yml is not a directory" in refused("--repo", str(repo.directory / "compose.yml"))


@pytest.mark.parametrize("how", ["too long", "no rights", "in circles"])
def test_an_unreadable_path(refused: Refused, tmp_path: Path, how: str) -> None:
    path = tmp_path / "x"
    if how == "too long":
        path = tmp_path / ("x" * 300)
    elif how == "in circles":
        path.symlink_to(path)
    else:
        path.mkdir(mode=0)  # root may look inside all the same, and finds no repository
    try:
        assert any(
            words in refused("--repo", str(path / "y" if how == "no rights" else path))
            for words in ("cannot be read", "is not a directory")
        )
    finally:
        if how == "no rights":
            path.chmod(0o700)


@pytest.mark.parametrize("option", ["--base", "--head"])
@pytest.mark.parametrize(
    "revision", ["nonsense", "0" * 40, "HEAD~99", "-x", "", "HEAD:compose.yml", "a b", "é"]
)
def test_an_unknown_revision(refused: Refused, option: str, revision: str) -> None:
    words = refused(f"{option}={revision}") if option == "--head" or revision else refused("--head=")
    assert "is not a commit in" in words or "is not a revision" in words
    assert repr(revision) in words


def test_a_repository_without_commits(refused: Refused, tmp_path: Path) -> None:
    empty = Checkout(tmp_path / "empty")
    assert "has no commits yet" in refused("--repo", str(empty.directory))


def test_no_compose_file(refused: Refused, repo: Checkout) -> None:
    repo.commit({"compose.yml": None})
    words = refused()
    assert "No compose file in the root of commit" in words
    assert "docker-compose.yml" in words
    assert "-f FILE" in words
    words = refused("--repo", str(repo.directory / "sub"))
    assert "No compose file in sub of commit" in words


def test_two_compose_files(refused: Refused, repo: Checkout) -> None:
    repo.commit({"docker-compose.yml": GOOD})
    words = refused()
    assert "More than one compose file" in words
    assert "compose.yml, docker-compose.yml" in words
    assert "-f FILE" in words


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("services:\n  web:\n    image: [web\n", "line "),
        ("services:\n  web:\n    image: a\n    image: b\n", "line 4"),
        ("services:\n\tweb: {}\n", "line 2"),
        ("services: {web: {imago: x}}\n", "imago"),
        ("services: {web: {}}\n", "web"),
        ("services: {web: {image: a, depends_on: [gone]}}\n", "gone"),
        ("", "empty"),
        ("- a\n- b\n", "line 1"),
        ("services: {web: {image: '${X:?must be set}'}}\n", "X"),
        ("services: {web: {image: a, ports: ['99999:1']}}\n", "port"),
    ],
)
def test_a_compose_file_that_compose_refuses(
    refused: Refused, repo: Checkout, content: str, line: str
) -> None:
    repo.commit({"compose.yml": content})
    words = refused()
    assert "Compose refuses compose.yml of commit" in words
    assert line in words.lower() or line in words


def test_a_broken_include_is_named(refused: Refused, repo: Checkout) -> None:
    repo.commit({"compose.yml": f"include: [parts/gone.yml]\n{GOOD}"})
    assert "parts/gone.yml" in refused()
    repo.commit({"parts/gone.yml": "services: {x: {imago: y}}\n"})
    assert "imago" in refused()


def test_a_directory_as_a_compose_file(refused: Refused) -> None:
    assert "sub is a directory" in refused("-f", "sub")


@pytest.mark.parametrize("file", ["gone.yml", "../outside.yml", "/etc/passwd"])
def test_a_compose_file_that_git_does_not_hold(refused: Refused, tmp_path: Path, file: str) -> None:
    (tmp_path / "outside.yml").write_text(GOOD)
    words = refused("-f", file)
    assert "does not exist in the tree of commit" in words or "outside" in words


def test_a_compose_file_that_is_not_committed(refused: Refused, repo: Checkout) -> None:
    repo.write({"new.yml": GOOD})
    assert "new.yml does not exist in the tree of commit" in refused("-f", "new.yml")


@pytest.mark.parametrize("output", ["nowhere/report.json", "sub", "/dev/full", "/proc/none"])
def test_an_output_that_cannot_be_written(refused: Refused, output: str) -> None:
    words = refused("--output", output)
    assert f"{output} cannot be written" in words


def test_no_git(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    words = refused(code=1, PATH=str(tmp_path / "bin"))
    assert "git cannot be started" in words
    assert "Install git" in words


def test_no_compose(tmp_path: Path, repo: Checkout) -> None:
    """Neither a plugin, nor on PATH, nor the package: an empty one lies in front of it."""
    (tmp_path / "packages" / "compose").mkdir(parents=True)
    (tmp_path / "packages" / "compose" / "__init__.py").touch()
    (tmp_path / "bin").mkdir()
    git = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "bin" / "git").symlink_to(git)
    program = (
        "import sys\nfrom dual_update.adapters import compose\ncompose._PLUGIN_DIRECTORIES = ()\n"
        "from dual_update.__main__ import main\nsys.argv[1:] = ['detect']\nsys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repo.directory,
        env={
            **os.environ,
            "PATH": str(tmp_path / "bin"),
            "DOCKER_CONFIG": str(tmp_path / "none"),
            "PYTHONPATH": str(tmp_path / "packages"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("dual-update: Docker compose v2 was not found.\nInstall the compose plugin")


def test_a_wrong_flag(refused: Refused, repo: Checkout) -> None:
    done = dual_update("detect", "--formt", "json", cwd=repo.directory)
    assert done.returncode == 2
    assert "--format" in done.stderr
    refused("--head", "nonsense")


def test_a_control_character_does_not_reach_the_terminal(refused: Refused) -> None:
    assert "\x1b" not in refused("--head", "\x1b[2J")


def test_the_good_case_still_works(repo: Checkout, tmp_path: Path) -> None:
    """What all of the above stand against."""
    target = tmp_path / "report.json"
    done = dual_update("detect", "--format", "json", "--output", str(target), cwd=repo.directory)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert '"update_type": "structural"' in target.read_text()

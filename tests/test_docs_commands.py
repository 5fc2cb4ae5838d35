"""What the documents tell people to type: it exists, its flags exist, and what can be run here is run.

Commands are taken from fenced blocks marked sh, bash or console, and from `spans` that begin with the
program's name, with one of its commands, or with a flag. Each command of a block is run on a real cluster, or
stands in NOT_RUN with the reason. (tests/test_docs.py holds that every command is documented, and links.)
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from dual_update.edges.cli import cli
from tests.integration.conftest import broom, images, registry, world  # noqa: F401 - fixtures
from tests.integration.world import Cluster, World
from tests.test_docs import leaves

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
        *ROOT.glob("docs/*.md"),
        *(path for path in ROOT.glob("examples/**/*.md") if "node_modules" not in path.parts),
        *ROOT.glob("orchestrator/*.md"),
    ]
)
PROGRAM = "dual-update"

NOT_RUN = {
    r"scripts/(demo|test)\b": "tests/integration/test_demo.py runs it; CI is the other",
    r"scripts/(lock|bootstrap|bench|release)\b|(pip|pipx) install": "changes this checkout, or takes long",
    r"\.venv/bin/|\.ci/run": "what CI does",
    r"sudo runner/(un)?install\b": "tests/integration/test_runner_install.py, on a host of its own",
    r"(sudo )?(systemctl|journalctl|ln|install) ": "an administrator's, on the host",
    r"sudo -u dual-update ": "tests/integration/test_runner_install.py has that user",
    r"docker |\./prepare": "docker's own; test_rollback.py and test_orchestrator_compose.py do it",
    r"(git|gh|openssl|chmod|cd|curl|ls|mkdir|cat|cp) ": "other programs', on the reader's own machine",
    r"python3? scripts/dual_update_manager\.py": "tests/integration/test_manager.py runs it",
    r"dual-update rollout\b|dual-update status --all": "tests/integration/test_rollout.py, with clusters",
    r"dual-update (serve|ping)\b": "tests/integration/test_serve.py runs it",
    r"dual-update plan --strategy at-night": "the example's own tests install that strategy",
    r"dual-update rollback --to": "needs a run's name; tests/integration/test_rollback.py gives one",
}
ANSWERS = {
    "dual-update apply": 5,  # there is no terminal to ask on
    "dual-update rollback": 5,
}
"""What ends otherwise than with 0 where nobody can be asked."""

OTHERS_FLAGS = {"--help": "every program", "--http-api-update": "Watchtower", "--require-hashes": "pip"}
"""Flags in the text that are not ours, and whose they are."""


@dataclass(frozen=True)
class Line:
    """One command as a document gives it."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def blocks() -> Iterator[Line]:
    """Every command of the fenced blocks. In a console block, only what stands after the prompt."""
    for path in DOCUMENTS:
        for block in re.finditer(
            r"^```(sh|bash|console)\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE
        ):
            is_typed = re.compile(r"^\$ " if block[1] == "console" else "")
            for line in block[2].replace("\\\n", " ").splitlines():
                bare = re.sub(r"(^|\s)#\s.*$", "", is_typed.sub("", line)).strip()
                if bare and is_typed.match(line):
                    yield Line(str(path.relative_to(ROOT)), bare)


def spans() -> Iterator[Line]:
    """Code inside the running text."""
    for path in DOCUMENTS:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        for span in re.findall(r"`([^`\n]+)`", text):
            yield Line(str(path.relative_to(ROOT)), span.replace("\\|", "|").strip())


def ours(line: Line) -> list[str] | None:
    """The words after `dual-update`, where the line is a command of the program; else None."""
    text = re.sub(r"^(sudo( -u [\w-]+)? |DUAL_UPDATE_\w+=\S+ )", "", line.text)
    try:
        words = shlex.split(text.split(" && ")[0].split(" | ")[0])
    except ValueError:
        return None
    words = [word.removesuffix("...") for word in words if word not in {"...", "…"}]
    if words and words[0].removeprefix(".venv/bin/") == PROGRAM:
        return words[1:]
    is_flagged = len(words) > 1 and words[1].startswith("-")
    if is_flagged and words[0] in cli.list_commands(click.Context(cli)):
        return words
    return None


def complaint(words: list[str]) -> str:
    """What the program's own parser says against these words; empty when it takes them."""
    command: click.Command = cli
    context = click.Context(cli, info_name=PROGRAM)
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            known = {flag for one in command.get_params(context) for flag in one.opts}
            return "" if not words or words[0] in known else f"no such option: {words[0]}"
        name, *words = words
        found = command.get_command(context, name)
        if found is None:
            return f"no such command: {name}"
        command = found
    try:
        command.make_context(command.name, list(words), parent=context)
    except click.exceptions.Exit:
        return ""
    except click.ClickException as error:
        return error.format_message()
    return ""


def test_documents_have_commands() -> None:
    """Else the tests below would be glad about nothing."""
    assert len(list(blocks())) > 20
    assert len([line for line in spans() if ours(line)]) > 10


def test_a_wrong_flag_would_be_found() -> None:
    assert complaint(["apply", "--no-such-flag"])
    assert complaint(["no-such-command"])
    assert complaint(["config", "no-such-command"])
    assert not complaint(["apply", "--auto", "--scope", "changed"])


def test_every_command_of_ours_is_as_the_parser_wants_it() -> None:
    mentioned = set(spans())  # in running text, a flag may stand without its value
    wrong = []
    for line in [*blocks(), *mentioned]:
        words = ours(line)
        said = complaint(words) if words is not None else ""
        if said and not (line in mentioned and said.endswith("requires an argument.")):
            wrong.append(f"{line}: {said}")
    assert wrong == []


def test_every_flag_in_the_text_exists() -> None:
    known = set(OTHERS_FLAGS)
    for _, command in leaves(cli):
        known |= {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    for script in [*ROOT.glob("scripts/*"), *ROOT.glob("runner/*")]:
        if script.is_file():
            known |= set(re.findall(r"(?<![\w-])--[a-z][\w-]+", script.read_text()))
    wrong = []
    for line in spans():
        flag = re.match(r"--[a-z][\w-]*", line.text)
        if flag and flag[0] not in known:
            wrong.append(str(line))
    assert wrong == []


def test_every_script_is_there_and_knows_its_flags() -> None:
    wrong = []
    for line in [*blocks(), *spans()]:
        named = re.match(r"(?:sudo )?((?:scripts|runner)/[\w.-]+)(.*)$", line.text)
        if named is None:
            continue
        script = ROOT / named[1]
        if not script.is_file():
            wrong.append(f"{line}: there is no such file")
            continue
        flags = re.findall(r"(?<![\w-])--[a-z][\w-]+", named[2])
        unknown = [flag for flag in flags if flag not in script.read_text()]
        wrong += [f"{line}: {named[1]} does not know {flag}" for flag in unknown]
    assert wrong == []


@pytest.mark.engine
def test_what_can_be_run_runs(world: World) -> None:  # noqa: F811 - the fixture
    """In a small cluster that runs its first version and has a second one waiting."""
    one, two = (world.images.push(f"web:{n}", f"web {n}").ref for n in (1, 2))
    port = world.free_port()
    policy = "health:\n  settle_seconds: 0.2\n  deadline_seconds: 60\n"
    compose = 'services:\n  web:\n    image: "{}"\n    ports: ["127.0.0.1:{}:80"]\n'
    cluster = world.repo({"compose.yml": compose.format(one, port), ".github/dual-update.yml": policy})
    assert cluster.dual_update("apply", "--auto").returncode == 0
    cluster.commit({"compose.yml": compose.format(two, port)})
    wrong, seen = [], set()
    for line in blocks():
        if line.text in seen or any(re.match(pattern, line.text) for pattern in NOT_RUN):
            continue
        seen.add(line.text)
        done = _type(cluster, line.text)
        if done.returncode != ANSWERS.get(line.text, 0):
            wrong.append(f"{line}: ended with {done.returncode}\n{done.stdout}{done.stderr}")
    assert wrong == []
    assert {
        "dual-update plan",
        "dual-update apply --auto",
        "dual-update status",
        "dual-update health",
    } <= seen


def _type(cluster: Cluster, text: str) -> subprocess.CompletedProcess[str]:
    """As a person would, in the checkout, with the program on PATH."""
    path = f'PATH="{Path(sys.executable).parent}:$PATH"'
    return subprocess.run(
        ["bash", "-euc", f"{path}; {text}"],
        cwd=cluster.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_other_answer_is_of_a_command_that_is_there() -> None:
    assert set(ANSWERS) <= {line.text for line in blocks()}


def test_the_tests_that_security_md_names_exist() -> None:
    text = (ROOT / "docs/security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"
    rows = re.findall(
        r"^\| .* \| .* \| .* \| (.*) \|$", text.partition("## Who could do what")[2], re.MULTILINE
    )
    assert [row for row in rows[2:] if "::test_" not in row] == []

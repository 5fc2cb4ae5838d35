"""What the documents say exists, and what exists is documented."""

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from dual_update.core.custom import KNOWN
from dual_update.core.errors import ExitCode
from dual_update.edges.cli import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]


def code(text: str) -> Iterator[str]:
    """Lines of code blocks, and what stands between backticks."""
    for number, part in enumerate(text.split("```")):
        if number % 2:
            yield from part.splitlines()[1:]
        else:
            yield from re.findall(r"`([^`\n]+)`", part)


def commands_in(path: Path) -> Iterator[list[str]]:
    """Every `dual-update WORD ...` that the document tells somebody to type."""
    for line in code(path.read_text()):
        found = re.match(r"^(?:\S*\$ |\$ |sudo )?(?:\S*/)?dual-update ([a-z].*)$", line.strip())
        if found:
            yield shlex.split(found.group(1), comments=True)


def named(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """The command that these words name, and the words behind it."""
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words:
        command, words = command.get_command(click.Context(command), words[0]), words[1:]
    return command, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_documented_exists(document: Path) -> None:
    for words in commands_in(document):
        command, rest = named(words)
        assert command is not None, f"{document.name}: there is no `dual-update {' '.join(words)}`"
        known = {flag for option in command.params for flag in option.opts}
        for word in rest:
            if word.startswith("-"):
                assert word.partition("=")[0] in known, f"{document.name}: {command.name} has no {word}"


def test_every_command_is_documented() -> None:
    documented = {named(words)[0] for path in DOCUMENTS for words in commands_in(path)}
    assert [name for name, command in leaves(cli) if command not in documented] == []


def leaves(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix}{name} ")
        elif command and not command.hidden:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize("document", ["README.md", "docs/operations.md"])
def test_exit_codes_are_the_ones_in_the_code(document: str) -> None:
    text = (ROOT / document).read_text()
    table = re.findall(r"^\| (\d+) \| ([a-z ]+) \|", text, flags=re.MULTILINE)
    assert {name.replace(" ", "_").upper(): int(code) for code, name in table} == {
        one.name: one.value for one in ExitCode
    }


def test_files_that_the_documents_name_exist() -> None:
    for path in DOCUMENTS:
        text = path.read_text()
        links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
        for link in links:
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
        for file in re.findall(r"`((?:scripts|docs|tests|examples)/[\w./-]+)`", text):
            assert (ROOT / file).exists(), f"{path.name} names {file}"
        for file in re.findall(r"`((?:core|usecases|adapters|edges)/\w+\.py)`", text):
            assert (ROOT / "src" / "dual_update" / file).exists(), f"{path.name} names {file}"


def test_headings_that_links_lead_to_exist() -> None:
    for path in DOCUMENTS:
        for link, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", path.read_text()):
            if "://" not in link:
                target = path.parent / link if link else path
                assert anchor in headings(target), f"{path.name}: {target.name} has no heading #{anchor}"


def headings(path: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in found}


def test_the_steps_that_strategies_may_return_are_listed() -> None:
    line = re.search(
        r"^- every step is a known one.*$", (ROOT / "docs/strategies.md").read_text(), re.MULTILINE
    )
    assert line
    assert set(re.findall(r"`(\w+)`", line[0])) == KNOWN


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "demo", module)
    spec.loader.exec_module(module)
    return module


def test_the_readme_tells_the_story_of_the_demo(demo: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text()
    for step in demo.STORY:
        assert step.title in readme
        assert step.told in readme


def test_the_output_in_the_readme_was_recorded() -> None:
    """Each line of it stands in the recording, in this order; `...` stands for lines left out."""
    block = re.search(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert block
    recorded = iter((ROOT / "docs" / "demo.txt").read_text().splitlines())
    for line in block.group(1).splitlines():
        assert line in ("...", "") or line in recorded, f"not in docs/demo.txt, or not in this order: {line}"

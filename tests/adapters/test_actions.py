"""What a step says to the runner, read as the runner reads it."""

from pathlib import Path

import pytest

from dual_update.adapters import actions
from dual_update.adapters.actions import LARGEST_SUMMARY_BYTES, Step, fitting
from dual_update.core.errors import UsageError, WorldError
from tests.edges.actions_world import commands_in, read_file_commands


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "output"
    file.touch()
    monkeypatch.setenv("GITHUB_OUTPUT", str(file))
    return file


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "a=b",
        "two\nlines",
        "x<<EOF\ny\nEOF",
        "ghadelimiter_1\n",
        "\u202e\0?",
        "x" * 200_000,
        "cr\r\nlf",
    ],
)
def test_an_outputs_value_arrives_as_it_is(output: Path, value: str) -> None:
    Step().output("deploy", value)
    Step().output("after", "it")
    with output.open(newline="") as file:
        found = read_file_commands(file.read())
    assert found == {"deploy": value, "after": "it"}


@pytest.mark.parametrize("name", ["", "a=b", "a\nb", "A", "a_b", "a<<b", "-a", "a-", "a b"])
def test_an_outputs_name_is_one_of_ours(output: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        Step().output(name, "x")
    assert output.read_text() == ""


def test_an_output_that_github_would_refuse_is_an_error(output: Path) -> None:
    with pytest.raises(WorldError, match="more than GitHub takes"):
        Step().output("report", "x" * (actions.LARGEST_OUTPUT_CHARACTERS + 1))
    output.unlink()
    with pytest.raises(WorldError, match="cannot be written"):
        Step().output("report", "x")


def test_outside_of_a_workflow_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    with pytest.raises(UsageError, match="GITHUB_OUTPUT"):
        Step()


@pytest.mark.parametrize("kind", ["error", "warning", "notice"])
def test_an_annotation_is_one_line_whatever_it_says(
    output: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    getattr(Step(), kind)("100%\n::add-mask::x\r\n##[error]y")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0] == f"::{kind}::dual-update: 100%25%0A::add-mask::x%0D%0A##[error]y"


def test_annotations_beyond_what_github_shows_are_plain(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Step()
    for number in range(14):
        step.warning(f"{number} ::error::x")
    said = capsys.readouterr().out
    found = commands_in(said)
    assert [name for name, _ in found] == ["warning"] * 10
    assert "13 ::error::x" in said


def test_plain_text_holds_no_command_and_no_way_out(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = Step()
    step.plain("::add-mask::x\n::stop-commands::y\n::y::\n##[error]z")
    first = capsys.readouterr().out
    assert commands_in(first) == []
    step.plain("x")
    token = first.splitlines()[0]
    assert token not in capsys.readouterr().out, "a token is used once"


@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_an_empty_secret_is_not_masked(output: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    Step().mask(value)
    assert capsys.readouterr().out == ""


def test_a_summary_is_added_to_and_cut_at_a_lines_end(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = output.with_name("summary")
    file.write_text("there before\n")
    inode = file.stat().st_ino
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    step = Step()
    step.summary("one")
    step.summary("<details>\n" + "é line\n" * 200_000)
    step.summary("too much by now")
    text = file.read_text()
    assert text.startswith("there before\none\n")
    assert file.stat().st_size <= LARGEST_SUMMARY_BYTES
    assert file.stat().st_ino == inode, "the runner watches this very file"
    assert text.count("<details>") == text.count("</details>")
    assert "did not fit" in text


def test_a_summary_that_cannot_be_written_is_a_warning(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(output.with_name("no-folder") / "summary"))
    Step().summary("one")
    assert [name for name, _ in commands_in(capsys.readouterr().out)] == ["warning"]
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    Step().summary("one")


@pytest.mark.parametrize("room", [0, 10, 300, 1000])
def test_fitting_fits(room: int) -> None:
    assert len(fitting("word\n" * 1000, room)) <= room

"""Reports: data by the shipped schema, words by the letter, and never too long."""

import json
from importlib.resources import files

import jsonschema
import pytest

from dual_update.core import report
from dual_update.core.decision import Decision, Sides, decide
from dual_update.core.diff import Change, compare
from dual_update.core.model import Rendered
from dual_update.core.rules import judge
from dual_update.core.submodule import SubmoduleMove

BASE, HEAD = "b" * 40, "a" * 40
SCHEMA = json.loads(files("dual_update").joinpath("schemas/report.schema.json").read_text())


def sides(
    before: dict[str, object], after: dict[str, object], *moves: SubmoduleMove, base: str | None = BASE
) -> Sides:
    old = Rendered("shop", services=before)  # type: ignore[arg-type]
    new = Rendered("shop", services=after)  # type: ignore[arg-type]
    return Sides("shop", old, new, base, HEAD, submodules=moves)


def everything() -> Decision:
    """One of each: a new image, a changed field, one come, one gone, code of a submodule, a volume."""
    moved = SubmoduleMove(
        "lib", BASE, HEAD, "acme/lib", ("1234567 faster", "undone: 7654321 slower"), ("lib/a.py", "lib/b.py")
    )
    before = {
        "api": {"build": {"context": "/src/lib"}},
        "db": {"image": "db:1", "environment": {"PASSWORD": "old"}},
        "gone": {"image": "g:1"},
        "same": {"image": "s:1"},
        "web": {"image": "web:1"},
    }
    after = {
        "api": {"build": {"context": "/src/lib"}},
        "db": {"image": "db:1", "environment": {"PASSWORD": "new"}},
        "new": {"image": "n:1"},
        "same": {"image": "s:1"},
        "web": {"image": "web:2"},
    }
    both = sides(before, after, moved)
    changes = [
        *compare(both.before, both.after),
        Change("code", "lib/a.py", "", "change", users=("api",)),
        Change("code", "lib/b.py", "", "change", users=("api",)),
        Change("volume", "data", "driver", "change", "local", "nfs", users=("db",)),
        Change("submodule", "lib", "pointer", "change", BASE, HEAD),
    ]
    return decide(both, judge(changes))


def nothing() -> Decision:
    return decide(sides({"web": {"image": "w"}}, {"web": {"image": "w"}}), ())


def test_the_text_for_a_terminal() -> None:
    assert report.text(everything()) == (
        "Images and structure changed: 1 to rebuild, 1 to recreate, 1 to remove, 1 to create, 1 to roll\n"
        "  cluster shop, bbbbbbbbbbbb -> aaaaaaaaaaaa\n"
        "  api: image_only, rebuild\n"
        "    - code lib/a.py, lib/b.py: Code that the image is built from changed.\n"
        "  db: changed, recreate\n"
        "    - environment.PASSWORD: A field of the service changed that its containers are made from.\n"
        "    - volume data driver: A volume's definition changed: compose either ignores that or destroys"
        " the data.\n"
        "  gone: removed, remove, g:1 -> nothing\n"
        "    - gone: A service was removed; compose leaves its containers running unless told otherwise.\n"
        "  new: added, create, nothing -> n:1\n"
        "    - new: A service was added.\n"
        "  web: image_only, roll, web:1 -> web:2\n"
        "    - image: The image reference changed.\n"
        "  unchanged: same\n"
        "  submodule lib: bbbbbbbbbbbb -> aaaaaaaaaaaa, 2 files changed\n"
        "    - 1234567 faster\n"
        "    - undone: 7654321 slower\n"
        "  a person must agree: volume data: A volume's definition changed: compose either ignores that or"
        " destroys the data.\n"
    )


def test_the_text_of_nothing() -> None:
    assert report.text(nothing()) == (
        "Nothing to do: the running cluster is what is wanted.\n"
        "  cluster shop, bbbbbbbbbbbb -> aaaaaaaaaaaa\n"
    )


def test_the_markdown_for_github() -> None:
    decision = everything()
    assert report.markdown(decision) == (
        "### Images and structure changed\n"
        "\n"
        "**shop**: 1 to rebuild, 1 to recreate, 1 to remove, 1 to create, 1 to roll\n"
        "\n"
        "> **A person must agree:** volume data: A volume's definition changed: compose either ignores that"
        " or destroys the data.\n"
        "\n"
        "| service | verdict | action | image |\n"
        "|---|---|---|---|\n"
        "| api | image_only | rebuild |  |\n"
        "| db | changed | recreate |  |\n"
        "| gone | removed | remove | g:1 -&gt; nothing |\n"
        "| new | added | create | nothing -&gt; n:1 |\n"
        "| web | image_only | roll | web:1 -&gt; web:2 |\n"
        "\n"
        "<details><summary>Why</summary>\n"
        "\n"
        "- **api**: code lib/a.py, lib/b.py: Code that the image is built from changed.\n"
        "- **db**: environment.PASSWORD: A field of the service changed that its containers are made from.\n"
        "- **db**: volume data driver: A volume's definition changed: compose either ignores that or destroys"
        " the data.\n"
        "- **gone**: gone: A service was removed; compose leaves its containers running unless told"
        " otherwise.\n"
        "- **new**: new: A service was added.\n"
        "- **web**: image: The image reference changed.\n"
        "\n"
        "</details>\n"
        "\n"
        "Submodules:\n"
        "\n"
        "- lib: bbbbbbbbbbbb -&gt; aaaaaaaaaaaa, 2 files changed\n"
        "  - 1234567 faster\n"
        "  - undone: 7654321 slower\n"
        "\n"
        f"<sub>fingerprint `{decision.fingerprint[:16]}`</sub>\n"
    )


@pytest.mark.parametrize("decision", [everything(), nothing(), decide(sides({}, {}, base=None), ())])
def test_the_json_fits_the_shipped_schema(decision: Decision) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(report.report(decision))), SCHEMA)


def test_the_schema_refuses_what_is_not_promised() -> None:
    good = report.report(everything())
    for key in good:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in good.items() if name != key}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, "update_type": "some"}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, "surprise": 1}, SCHEMA)


def test_values_are_shown_for_harmless_fields_only() -> None:
    shown = {(c["path"], c["before"], c["after"]) for c in report.report(everything())["changes"]}
    assert ("image", "web:1", "web:2") in shown
    assert ("environment.PASSWORD", None, None) in shown


def test_what_github_is_asked_for() -> None:
    """The decision matrix: an issue for any update, a pull request unless it is images alone."""

    def asked(decision: Decision) -> tuple[bool, bool, list[str]]:
        wants = report.github_wants(decision)
        return wants["issue"], wants["pull_request"], wants["repositories"]

    image = sides({"w": {"image": "w:1"}}, {"w": {"image": "w:2"}})
    code = sides({"w": {"build": {}}}, {"w": {"build": {}}})
    in_code = [Change("code", "a", "", "change", users=("w",))]
    assert asked(nothing()) == (False, False, [])
    assert asked(decide(image, judge(compare(image.before, image.after)))) == (True, False, [])
    assert asked(decide(code, judge(in_code))) == (True, True, [])
    assert asked(decide(code, judge(in_code, {"code.context": "none"}))) == (False, False, [])
    assert asked(everything()) == (True, True, ["acme/lib"])


def test_many_files_share_a_line() -> None:
    both = sides({"w": {"build": {}}}, {"w": {"build": {}}})
    changes = [Change("code", f"f{n}", "", "change", users=("w",)) for n in range(500)]
    (line,) = decide(both, judge(changes)).services["w"].reasons
    assert line == "code f0, f1, f2 and 497 more: Code that the image is built from changed."


@pytest.mark.parametrize("length", [1, 60])
def test_five_thousand_services_fit_into_a_comment(length: int) -> None:
    def services(tag: int) -> dict[str, object]:
        return {
            f"service-{'x' * length}-{n:04}": {
                "image": f"registry.example/app_{n}:{tag}",
                "hostname": f"h{tag}",
            }
            for n in range(5000)
        }

    moves = [
        SubmoduleMove(f"lib{n}", BASE, HEAD, commits=("1234567 " + "long " * 40,) * 50) for n in range(200)
    ]
    both = sides(services(1), services(2), *moves)
    decision = decide(both, judge(compare(both.before, both.after)))
    words = report.markdown(decision)
    assert 20_000 < len(words) < 65_000
    assert "... and " in words
    assert words.rstrip().endswith("</sub>")
    assert words.count("<details>") == words.count("</details>") == 1


def test_foreign_text_is_harmless() -> None:
    evil = "a|b @team <img src=x> [l](https://evil.example) `c` #1 \x1b[31m \u202e\nnext"
    escaped = report.escape(evil)
    assert not any(bad in escaped for bad in ("@team", "<img", "://", "\x1b", "\u202e", "\n"))
    assert "a\\|b" in escaped
    assert "\\[l\\]\\(" in escaped
    both = sides({}, {"w": {"image": "x:1\x1b[2J"}})
    words = report.text(decide(both, judge(compare(both.before, both.after))))
    assert "\x1b" not in words

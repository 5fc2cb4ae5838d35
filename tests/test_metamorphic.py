"""Writing a compose file in another way changes no verdict: rewrites chained at random over the corpus."""

import io
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dual_update.core.decision import Decision
from tests.repositories import Checkout, tree_of
from tests.test_corpus import CORPUS, NAMES, PAIRS

ROUNDS = 2
STRING = "tag:yaml.org,2002:str"
Rewrite = Callable[[str, random.Random], str]


def nodes(root: Node) -> list[Node]:
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, MappingNode):
            waiting += [one for pair in node.value for one in pair]
        elif isinstance(node, SequenceNode):
            waiting += node.value
    return found


def by_nodes(change: Callable[[list[Node], random.Random], None]) -> Rewrite:
    """A rewrite of the parsed file. Files with anchors or several documents stay as they are."""

    def rewrite(text: str, rng: random.Random) -> str:
        yaml = YAML(typ="rt", pure=True)
        yaml.width = 10_000
        if "&" in text or "*" in text or "\n---" in text or "<<" in text:
            return text
        root = yaml.compose(text)
        if root is None:
            return text
        change(nodes(root), rng)
        out = io.StringIO()
        yaml.serialize(root, out)
        return out.getvalue()

    return rewrite


def shuffled(found: list[Node], rng: random.Random) -> None:
    for node in found:
        if isinstance(node, MappingNode):
            rng.shuffle(node.value)


def in_flow(found: list[Node], rng: random.Random) -> None:
    for node in found:
        if not isinstance(node, ScalarNode) and rng.random() < 0.5:
            for inner in nodes(node):
                if isinstance(inner, ScalarNode):
                    if inner.style in {"|", ">"}:
                        inner.style = '"'
                else:
                    inner.flow_style = True


def quoted(found: list[Node], rng: random.Random) -> None:
    for node in found:
        if isinstance(node, ScalarNode) and str(node.tag) == STRING and node.style is None:
            node.style = rng.choice(["'", '"', None])


def as_lists(found: list[Node], rng: random.Random) -> None:
    """environment and labels as a list of K=V, where every value is text."""
    for node in found:
        if not isinstance(node, MappingNode):
            continue
        for number, (key, value) in enumerate(node.value):
            is_meant = key.value in {"environment", "labels"} and isinstance(value, MappingNode)
            pairs: list[Any] = value.value if is_meant else []
            is_text = all(str(one.tag) == STRING for pair in pairs for one in pair)
            if (
                pairs
                and is_text
                and value.tag
                and "reset" not in str(value.tag)
                and "override" not in str(value.tag)
            ):
                items = [ScalarNode(STRING, f"{k.value}={v.value}", style='"') for k, v in pairs]
                node.value[number] = (key, SequenceNode("tag:yaml.org,2002:seq", items))


def commented(text: str, rng: random.Random) -> str:
    if "|" in text or ">" in text or '"' in text or "'" in text:  # a line might lie within a text
        return f"# said before\n{text}\n# said after\n"
    lines = text.splitlines()
    for _ in range(5):
        lines.insert(rng.randint(0, len(lines)), " " * rng.randint(0, 8) + f"# note {rng.random()}")
    return "\n".join(lines) + "\n"


def with_an_extension(text: str, rng: random.Random) -> str:
    return (
        text
        if "\n---" in text or "x-unused" in text or text.lstrip()[:1] in {"{", ""}
        else (text.rstrip("\n") + f"\nx-unused: {{note: {rng.randint(0, 9)}}}\n")
    )


def with_other_line_ends(text: str, rng: random.Random) -> str:
    return text if "|" in text or ">" in text else text.replace("\n", "\r\n")


REWRITES: dict[str, Rewrite] = {
    "shuffled": by_nodes(shuffled),
    "in_flow": by_nodes(in_flow),
    "quoted": by_nodes(quoted),
    "as_lists": by_nodes(as_lists),
    "commented": commented,
    "with_an_extension": with_an_extension,
}


def rewritten(tree: dict[str, bytes], rng: random.Random) -> tuple[dict[str, bytes], list[str]]:
    """Every compose file of a tree through a random chain of rewrites; line ends come last."""
    names = rng.sample(sorted(REWRITES), rng.randint(2, 5))
    names.sort(key=lambda name: name != "with_an_extension")  # only a block can be added to at its end
    found = dict(tree)
    for path, content in tree.items():
        if Path(path).suffix in {".yml", ".yaml"}:
            text = content.decode()
            for name in names:
                text = REWRITES[name](text, rng)
            found[path] = (with_other_line_ends(text, rng) if rng.random() < 0.2 else text).encode()
    return found, names


@pytest.mark.timeout(300)
def test_rewrites_change_no_verdict(tmp_path: Path) -> None:
    """A rewritten side against itself is nothing; a pair with both sides rewritten keeps its class."""
    repository = Checkout(tmp_path / "project")
    rng = random.Random(20)
    asked: list[tuple[str, str, str, str, str]] = []
    trees: list[dict[str, bytes]] = []
    for name in NAMES:
        before, after = (tree_of(CORPUS / name / side) for side in ("before", "after"))
        for _ in range(ROUNDS):
            (first, how_first), (second, how_second) = rewritten(before, rng), rewritten(after, rng)
            trees += [before, first, second]
            asked.append((name, f"{how_first} {how_second}", "", "", ""))
    commits = iter(repository.commits(*trees))
    asked = [(name, how, next(commits), next(commits), next(commits)) for name, how, *_ in asked]
    expected = {one["pair"]: one for one in PAIRS}

    def both(one: tuple[str, str, str, str, str]) -> tuple[Decision, Decision]:
        _, _, before, first, second = one
        return repository.detect(before, first).decision, repository.detect(first, second).decision

    def model(decision: Decision) -> list[str]:
        """What is left to say of the model: files that are only mounted or built from may differ as text."""
        return [f"{f.rule.id} {f.change.name} {f.change.path}" for f in decision.findings]

    wrong = []
    with ThreadPoolExecutor(2) as pool:
        for one, (same, pair) in zip(asked, pool.map(both, asked), strict=True):
            name, how = one[:2]
            if same.update_type != "none":
                wrong.append(f"{name}, {how}: rewritten it is {same.update_type}: {model(same)}")
            if pair.update_type != expected[name]["update_type"]:
                wrong.append(f"{name}, {how}: as a pair it is {pair.update_type}: {model(pair)}")
            verdicts = {service: found.verdict for service, found in pair.services.items()}
            if verdicts != expected[name]["services"]:
                wrong.append(f"{name}, {how}: {verdicts}")
    assert not wrong, "\n".join(wrong)

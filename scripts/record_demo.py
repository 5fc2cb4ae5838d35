"""Records the demo: all of it into docs/demo.txt, its end into the README. Run it on a quiet machine."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    demo = [sys.executable, str(ROOT / "scripts" / "demo.py")]
    done = subprocess.run(demo, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout)
        return done.returncode
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    (ROOT / "docs" / "demo.txt").write_text("\n".join(lines) + "\n")
    readme = ROOT / "README.md"
    shown = "\n".join(excerpt(lines))
    text = re.sub(r"```text\n.*?```", lambda _: f"```text\n{shown}\n```", readme.read_text(), flags=re.DOTALL)
    readme.write_text(text)
    return 0


def excerpt(lines: list[str]) -> list[str]:
    """The broken image without its plan, and the table."""

    def at(beginning: str, after: int) -> int:
        return next(n for n in range(after, len(lines)) if lines[n].startswith(beginning))

    step = at("5. ", 0)
    plan, apply = at("Plan (", step), at("host$ dual-update apply", step)
    checked = at("Checked: ", apply)
    table = at("Five pushes", checked)
    end = at("└", table)
    return [*lines[step:plan], "...", *lines[apply : checked + 1], "...", "", *lines[table : end + 1]]


if __name__ == "__main__":
    sys.exit(main())

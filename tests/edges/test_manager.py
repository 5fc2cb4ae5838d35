"""scripts/dual_update_manager.py, the documented door: flags, and a Python of any kind."""

import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.integration.test_manager import SCRIPT, manager


def test_any_python_will_do(tmp_path: Path) -> None:
    """A Python without the package hands over to .venv, where there is one."""
    plain = Path(sysconfig.get_config_var("BINDIR")) / f"python{sysconfig.get_python_version()}"
    assert (
        subprocess.run([plain, "-c", "import dual_update"], capture_output=True, check=False).returncode != 0
    )
    done = manager("--check-only", cwd=tmp_path, python=str(plain))
    assert done.returncode == 2
    assert "is not inside a git repository" in done.stderr

    lonely = tmp_path / "elsewhere" / "scripts" / SCRIPT.name
    lonely.parent.mkdir(parents=True)
    lonely.write_bytes(SCRIPT.read_bytes())
    done = subprocess.run([plain, lonely], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "run scripts/bootstrap" in done.stderr


@pytest.mark.parametrize("arguments", [("--auto", "--check-only"), ("--aut",), ("apply",)])
def test_wrong_flags_are_usage_errors(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert manager(*arguments, cwd=tmp_path).returncode == 2

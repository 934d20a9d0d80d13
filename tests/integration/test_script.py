"""The `reelmill` script, in a checkout of its own: makes its environment once, and says what is missing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "reelmill"

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose lock file names no package, so that setting up needs no network."""
    root = tmp_path / "check out"
    (root / "gateway").mkdir(parents=True)
    shutil.copy(SCRIPT, root / "reelmill")
    (root / "requirements.lock").write_text("")
    (root / "pyproject.toml").write_text("")
    (root / "gateway" / "__init__.py").write_text("")
    (root / "gateway" / "cli.py").write_text(
        "import os, sys\nprint(sys.argv[1:], os.getcwd(), os.environ['REELMILL_DATA_DIR'])\n"
    )
    return root


def environment(tmp_path: Path, script: str) -> dict[str, str]:
    """Variables with a PATH on which `python3.11` is the given shell script, and no uv."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("python3.11", "python3.12", "python3", "python"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    for name in ("sh", "cat", "cksum", "dirname", "find", "flock", "ln", "mkdir", "mv", "readlink", "rm", "tr"):
        found = shutil.which(name)
        if found and not (folder / name).exists():
            (folder / name).symlink_to(found)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("REELMILL", "VIRTUAL_ENV"))}
    return {**kept, "PATH": str(folder)}


def start(root: Path, folder: Path, variables: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """The script, started in a folder."""
    return subprocess.Popen(
        [str(root / "reelmill"), *arguments],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_first_starts_share_the_work_and_later_ones_do_none(checkout: Path, tmp_path: Path) -> None:
    variables = environment(tmp_path, f'exec {sys._base_executable} "$@"')  # type: ignore[attr-defined]
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "gateway").mkdir(parents=True)
    (elsewhere / "gateway" / "cli.py").write_text("print('not ours')\n")
    both = [start(checkout, elsewhere, variables, "hello", "two words") for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in both]
    expected = f"['hello', 'two words'] {elsewhere} {checkout / '.reelmill'}\n"
    assert [out for out, _ in ended] == [expected, expected], ended
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("setting up" in err for _, err in ended) in ([False, True], [True, True])
    out, err = start(checkout, elsewhere, variables, "again").communicate(timeout=60)
    assert (out.split()[0], err) == ("['again']", "")
    # Another lock file: set up anew.
    (checkout / "requirements.lock").write_text("# changed\n")
    out, err = start(checkout, elsewhere, variables, "anew").communicate(timeout=300)
    assert "setting up" in err
    assert out.startswith("['anew']"), err


def wheel(folder: Path, version: str, *requires: str, name: str = "locked") -> str:
    """A wheel without a file of its own; its sha256."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_newer_release_of_what_a_package_asks_for_by_an_extra_changes_nothing(checkout: Path, tmp_path: Path) -> None:
    """pip 23 takes `locked[extra]` from the index, although the lock has `locked`, and then misses its hash."""
    index = tmp_path / "index"
    index.mkdir()
    locked, asks = wheel(index, "1"), wheel(index, "1", "locked[extra]>=1", name="asks")
    wheel(index, "2")
    (checkout / "requirements.lock").write_text(f"asks==1 --hash=sha256:{asks}\nlocked==1 --hash=sha256:{locked}\n")
    variables = environment(tmp_path, f'exec {sys._base_executable} "$@"')  # type: ignore[attr-defined]
    variables |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
    out, err = start(checkout, tmp_path, variables, "hello").communicate(timeout=300)
    assert out.startswith("['hello']"), err
    installed = sorted(path.name for path in (checkout / ".venv").rglob("*.dist-info"))
    assert "locked-1.dist-info" in installed


def test_no_usable_python_is_said_with_the_remedy(checkout: Path, tmp_path: Path) -> None:
    process = start(checkout, tmp_path, environment(tmp_path, "exit 1"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "needs Python 3.11 or 3.12" in err
    assert "apt install" in err


def test_a_python_without_venv_is_said_with_the_remedy(checkout: Path, tmp_path: Path) -> None:
    script = f'case "$*" in *ensurepip*|*"-m venv"*) exit 1;; esac; exec {sys._base_executable} "$@"'  # type: ignore[attr-defined]
    process = start(checkout, tmp_path, environment(tmp_path, script))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "apt install python3-venv" in err
    assert not (checkout / ".venv" / ".reelmill").exists()

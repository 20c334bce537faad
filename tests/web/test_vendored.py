"""The vendored files are the published ones, byte for byte, and all of them are accounted for."""

import hashlib
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"
KEPT_BESIDE = {"README.md", "SHA256SUMS"}


def recorded() -> dict[str, str]:
    """Path below `static/vendor` -> SHA-256, as `SHA256SUMS` has it."""
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def test_each_vendored_file_has_its_recorded_sha256():
    found = {path: hashlib.sha256((VENDOR / path).read_bytes()).hexdigest() for path in recorded()}

    assert found == recorded()


def test_no_vendored_file_is_unrecorded():
    files = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}

    assert files - KEPT_BESIDE == set(recorded())


def test_each_vendored_folder_carries_its_licence():
    folders = {path.split("/")[0] for path in recorded()}

    assert folders == {"htmx"}
    assert all((VENDOR / folder / "LICENSE").is_file() for folder in folders)

"""What `make` installs is what `requirements.txt` has a hash for, and nothing else."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from hatchling.builders.sdist import SdistBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.sdks import pinned

ROOT: Final = Path(__file__).parents[1]
WRITTEN: Final = (ROOT / "requirements.txt").read_text()
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())

_PIN: Final = re.compile(r"[a-z0-9._-]+==[\w.!+-]+(?: ; [^\\#]+)?")
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def unhashed(text: str) -> list[str]:
    """The requirements of a file that are no pins, or lack a hash; and stray lines."""
    entries = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    found: list[str] = []
    for line in entries.splitlines():
        pin, *hashes = re.split(r"\s+(?=--hash)", line.strip())
        every = [one.strip() for one in hashes]
        good = (
            _PIN.fullmatch(pin.strip()) and every and all(map(_HASH.fullmatch, every))
        )
        if not good:
            found.append(pin)
    return found


def test_a_source_distribution_holds_all_that_a_contributor_runs_and_reads() -> None:
    """Without the Makefile, the pins and the docs its own tests fail."""
    shipped = {
        one.relative_path for one in SdistBuilder(str(ROOT)).recurse_included_files()
    }

    assert shipped >= {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "docs/design.md",
        "requirements.txt",
        "tests/test_requirements.py",
    }
    assert not any(one.startswith((".venv", ".git/")) for one in shipped)


def test_each_requirement_is_a_pin_with_hashes_and_names_no_address() -> None:
    assert unhashed(WRITTEN) == []
    assert len(pinned()) == len(re.findall("^[a-z]", WRITTEN, re.MULTILINE)) > 40


@pytest.mark.parametrize(
    "planted",
    [
        re.sub(r"(h11==\S+)( \\\n +--hash=\S+)+", r"\1", WRITTEN),
        WRITTEN.replace("h11==", "h11>="),
        WRITTEN.replace("sha256", "md5"),
        "--index-url https://index.invalid/simple\n" + WRITTEN,
        "h11 @ https://index.invalid/h11.whl\n" + WRITTEN,
    ],
    ids=["no hash", "no pin", "a weak hash", "an index", "an address"],
)
def test_the_check_sees_what_is_not_pinned(planted: str) -> None:
    assert planted != WRITTEN
    assert unhashed(planted)


def declared() -> list[Requirement]:
    """All that the project asks for: to run, to be built, to be worked on."""
    groups: dict[str, list[Any]] = PROJECT["dependency-groups"]
    asked = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["build-system"]["requires"],
        *(one for group in groups.values() for one in group if isinstance(one, str)),
    ]
    return [Requirement(one) for one in asked]


def test_all_that_the_project_asks_for_is_pinned_within_its_bounds() -> None:
    pins = {
        canonicalize_name(name): version
        for name, version in (one.split(" ;")[0].split("==") for one in pinned())
    }
    for asked in declared():
        version = pins.get(canonicalize_name(asked.name))
        assert version is not None, f"make requirements: {asked.name} is not pinned"
        assert asked.specifier.contains(version), f"make requirements: {asked}"


def test_make_installs_what_has_a_hash_and_the_project_on_top_of_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.split("\n.venv/installed:")[1].split("\n\n")[0]
    installs = re.findall(r"\$\(PIP\) (.+)", recipe)

    assert installs == [
        "--require-hashes --requirement requirements.txt",
        "--no-deps --no-build-isolation --editable .",
    ]
    assert makefile.count("pip install") == 1, "everything goes through PIP"
    assert "make test" in (ROOT / ".ci" / "run").read_text()

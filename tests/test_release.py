"""What is checked before a release is uploaded, and the workflow that does it."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from moos_integrations import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_release", ROOT / ".ci" / "check_release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def release(tmp_path: Path, check: ModuleType) -> Path:
    """A copy of the files that name the version, with a section of it in the changelog."""
    for file in (*check.places(ROOT), "CHANGELOG.md"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    log = tmp_path / "CHANGELOG.md"
    log.write_text(log.read_text(encoding="utf-8") + f"\n## [{__version__}] - 2026-12-01\n", encoding="utf-8")
    return tmp_path


def test_a_release_whose_files_agree_is_right(check: ModuleType, release: Path) -> None:
    assert len(check.places(release)) == 4
    assert check.problems(f"v{__version__}", release) == []


@pytest.mark.parametrize("tag", ["v9.9.9", "0.1.0", "v0.1", "release", ""])
def test_other_tags_are_refused(check: ModuleType, release: Path, tag: str) -> None:
    assert check.problems(tag, release)


def test_each_file_with_another_version_is_named(check: ModuleType, release: Path) -> None:
    for file in check.places(release):
        text = (release / file).read_text(encoding="utf-8")
        (release / file).write_text(text.replace(__version__, "0.0.9"), encoding="utf-8")
        (problem,) = check.problems(f"v{__version__}", release)
        assert problem.startswith(file)
        (release / file).write_text(text, encoding="utf-8")


def test_a_changelog_without_the_section_is_refused(check: ModuleType, release: Path) -> None:
    shutil.copy(ROOT / "CHANGELOG.md", release / "CHANGELOG.md")
    if f"## [{__version__}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        assert "has no section" in " ".join(check.problems(f"v{__version__}", release))


def test_workflows_pin_actions_and_only_publishing_gets_a_token() -> None:
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}
        for name, job in workflow["jobs"].items():
            assert ("id-token" in job.get("permissions", {})) == (name == "publish")
            for step in job["steps"]:
                assert "uses" not in step or re.search(r"@[0-9a-f]{40}$", step["uses"]), step
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    assert release["jobs"]["publish"]["needs"] == "build"
    assert not any("checkout" in step.get("uses", "") for step in release["jobs"]["publish"]["steps"])

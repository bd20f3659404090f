"""Who may import whom, and that nothing slow is loaded for nothing."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"pipelines", "filters", "answers", "tts", "quantize", "noise"}


def imports(path: Path) -> set[str]:
    """Return the top-level names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


# Which of ours a package may import: `tts` takes from `quantize` what both need of models and of audio, and from
# `answers` what asks and stores; `answers` judges by what `filters` knows of texts.
ALLOWED: dict[str, set[str]] = {
    **{"filters": set(), "noise": {"quantize"}, "quantize": set()},
    **{"answers": {"filters"}, "tts": {"answers", "noise", "quantize"}},
}


@pytest.mark.parametrize("package", sorted(OURS - {"pipelines"}))
def test_a_package_imports_no_other_of_ours(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    assert {name for path in files for name in imports(path)} & (OURS - {package}) <= ALLOWED[package]


def test_ray_is_imported_where_its_workers_and_its_metrics_are() -> None:
    files = [path for package in OURS for path in (ROOT / package).rglob("*.py")]
    assert sorted(path.name for path in files if "ray" in imports(path)) == ["ray_metrics.py", "ray_pool.py"]


def test_no_installed_distribution_owns_a_top_level_name_of_ours() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in [*OURS, "configs", "tests"]:
        assert set(owners.get(name, ["speechmill"])) == {"speechmill"}, name


@pytest.mark.parametrize("command", ["plan", "status", "steps"])
def test_looking_at_a_run_loads_neither_ray_nor_torch(command: str, finished: Path) -> None:
    arguments = ["steps"] if command == "steps" else [command, str(finished / "recipe.yaml")]
    script = (
        f"import sys; sys.argv = ['speechmill', *{arguments}]\n"
        "from pipelines.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = {'ray', 'torch', 'torchaudio', 'datasets', 'transformers'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_options_load_no_library_of_tables() -> None:
    """Each command reads a recipe first: what rules need to judge rows is loaded where rows are."""
    script = "import sys, pipelines.recipe; assert not {'polars', 'jinja2', 'openai'} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

"""export.shard_bytes is what a file takes on disk; a file that is made section by section has the same rows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.recipe import load_recipe
from pipelines.steps import export, passes_for
from tests.conftest import write_recipe
from tests.pipelines.in_process import run_quietly

FOOTER_BYTES = 9_000  # of files as small as these it is no small part


def exported(finished: Path, folder: Path, shard_bytes: int) -> list[Path]:
    """Return the files of stage2 of the small run, exported again."""
    shutil.copytree(finished / "run", folder / "run")
    recipe = load_recipe(write_recipe(folder, export={"shard_bytes": shard_bytes, "audio": False}))
    run_quietly(recipe, passes_for("export"))
    return sorted((folder / "run/dataset/stage2").glob("*.parquet"))


def pairs(files: list[Path]) -> list[dict[str, Any]]:
    return [pair for path in files for pair in pq.read_table(path).to_pylist()]


def test_a_file_takes_on_disk_what_was_asked(finished: Path, tmp_path: Path) -> None:
    files = exported(finished, tmp_path, 40_000)
    sizes = [path.stat().st_size for path in files]
    uncompressed = sum(pq.read_table(path).nbytes for path in files)
    assert len(files) == 2
    assert uncompressed > 4 * sum(sizes), "or it says nothing"
    assert 40_000 * 0.9 < sizes[0] < 40_000 * 1.1 + FOOTER_BYTES


def test_a_file_of_many_sections_has_the_rows_of_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = exported(finished, tmp_path / "whole", 40_000)
    monkeypatch.setattr(export, "SECTION_BYTES", 50_000)
    sections = exported(finished, tmp_path / "sections", 40_000)
    assert [path.name for path in sections] == [path.name for path in whole]
    assert pairs(sections) == pairs(whole)
    groups = [pq.read_metadata(path).num_row_groups for path in sections]
    assert groups[0] > 3, "a row group or more for each section"
    rendered = [pq.read_metadata(p).num_row_groups for p in (tmp_path / "sections/run/export.render").glob("*.parquet")]
    assert max(rendered) > 3

"""What patterns mean, and what a tree holds."""

import os

import pytest

from estimator_ckpt.errors import CheckpointNotFoundError
from estimator_ckpt.files import selection
from tests.bundle_builder import BundleBuilder


@pytest.fixture(name="tree")
def _tree(tmp_path):
  for directory in ("a/model_dir", "b/c/model_dir", "d", "model_dir"):
    (tmp_path / directory).mkdir(parents=True)
    builder = BundleBuilder()
    builder.numbers("w", [1.0])
    for step in (1, 2):
      builder.write(str(tmp_path / directory / f"model.ckpt-{step}"))
  (tmp_path / "empty" / "model_dir").mkdir(parents=True)
  return str(tmp_path)


@pytest.mark.parametrize(
  ("pattern", "expected"),
  [
    ("*", ["d", "model_dir"]),
    ("*/model_dir", ["a/model_dir"]),
    ("**/model_dir", ["model_dir", "a/model_dir", "b/c/model_dir"]),
    ("[ab]/**", ["a/model_dir", "b/c/model_dir"]),
    ("b/*/model_dir", ["c/model_dir"]),
    ("d/model.ckpt-*", ["model.ckpt-1", "model.ckpt-2"]),
    ("**/model.ckpt-?2", None),
    ("b/**/model.ckpt-2", ["c/model_dir/model.ckpt-2"]),
    ("x/*", None),
  ],
)
def test_a_pattern_matches_model_dirs_and_prefixes(tree, pattern, expected):
  path = f"{tree}/{pattern}"
  if expected is None:
    with pytest.raises(CheckpointNotFoundError, match="matches the pattern"):
      selection.select(path)
    return
  found = selection.select(path)
  assert [each.relative for each in found] == expected
  root = os.path.commonpath([each.path for each in found])
  assert all(each.path.endswith(each.relative) for each in found)
  assert root.startswith(tree)


def test_a_pattern_may_be_relative_and_on_another_store(tree, monkeypatch):
  monkeypatch.chdir(tree)
  assert selection.select("*/model_dir") == [("a/model_dir", "a/model_dir")]
  assert selection.select(f"file://{tree}/*/model_dir") == [
    (f"file://{tree}/a/model_dir", "a/model_dir")
  ]


def test_everything_below_a_directory_or_below_what_matches(tree):
  assert [each.relative for each in selection.select(tree, recursive=True)] == [
    "d",
    "model_dir",
    "a/model_dir",
    "b/c/model_dir",
  ]
  found = selection.select(f"{tree}/[ab]", recursive=True)
  assert [each.relative for each in found] == ["a/model_dir", "b/c/model_dir"]


def test_links_are_followed_only_by_name(tree):
  os.symlink(f"{tree}/b", f"{tree}/link")
  relative = [each.relative for each in selection.select(f"{tree}/**/model_dir")]
  assert "link/c/model_dir" not in relative
  assert [e.relative for e in selection.select(f"{tree}/lin?/c/model_dir")] == [
    "link/c/model_dir"
  ]


def test_a_path_that_is_there_is_no_pattern(tree, tmp_path):
  assert not selection.is_pattern(f"{tree}/d")
  (tmp_path / "odd[1]").mkdir()
  assert not selection.is_pattern(str(tmp_path / "odd[1]"))
  assert selection.is_pattern(str(tmp_path / "odd[2]"))

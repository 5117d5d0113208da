"""Changed vocabularies: the checks before a graph is built."""

from __future__ import annotations

import types

import pytest

from estimator_ckpt import errors
from estimator_ckpt.warm_start.vocabulary import VocabularyChange, count_lines


def info(tmp_path, new, old, **settings):
  """Like a tf.estimator.VocabInfo, over files with these words."""
  files = {}
  for name, words in (("new", new), ("old", old)):
    path = tmp_path / name
    path.write_text("".join(word + "\n" for word in words))
    files[name + "_vocab"] = str(path)
  values = {
    "new_vocab_size": len(new),
    "num_oov_buckets": 0,
    "old_vocab_size": -1,
    "backup_initializer": None,
    "axis": 0,
  }
  return types.SimpleNamespace(**{**values, **files, **settings})


def test_a_change_that_fits(tmp_path):
  change = VocabularyChange.of(info(tmp_path, "abc", "ab", num_oov_buckets=2))
  assert change.problem((5, 7), (2, 7)) is None
  assert change.problem((5, 7), (3, 7)) is None  # an old OOV row
  assert str(change) == f"vocabulary {tmp_path}/old -> {tmp_path}/new"


def test_a_change_of_classes_is_along_another_dimension(tmp_path):
  change = VocabularyChange.of(info(tmp_path, "abc", "ab", axis=1))
  assert change.problem((7, 3), (7, 2)) is None
  assert "axis 1" in str(change)


@pytest.mark.parametrize(
  "settings, new_shape, old_shape, words",
  [
    ({}, (4, 7), (2, 7), "3 entries + 0 OOV buckets = 3"),
    ({}, (3, 7), (2, 8), "changes that one only"),
    ({}, (3,), (2, 7), "[3] in the graph and [2, 7]"),
    ({}, None, (2, 7), "not known before it runs"),
    (
      {},
      (3, 7),
      (1, 7),
      "has 2 entries, and dimension 0 of the checkpoint's tensor only 1",
    ),
    ({"new_vocab_size": 9}, (9, 7), (2, 7), "has 3 lines, and new_vocab_size is 9"),
    ({"old_vocab_size": 9}, (3, 7), (9, 7), "has 2 lines, and old_vocab_size is 9"),
    ({"axis": 1}, (3,), (3,), "stands for dimension 1"),
    ({"old_vocab": "/no/file"}, (3, 7), (2, 7), "a vocabulary cannot be read"),
  ],
)
def test_what_does_not_fit_is_said(tmp_path, settings, new_shape, old_shape, words):
  change = VocabularyChange.of(info(tmp_path, "abc", "ab", **settings))
  assert words in change.problem(new_shape, old_shape)


def test_old_vocab_size_limits_what_must_be_there(tmp_path):
  change = VocabularyChange.of(info(tmp_path, "abc", "abcd", old_vocab_size=2))
  assert change.problem((3, 7), (2, 7)) is None


def test_something_else_than_a_vocab_info():
  with pytest.raises(errors.OptionError, match="takes tf.estimator.VocabInfo"):
    VocabularyChange.of({"new_vocab": "x"})


@pytest.mark.parametrize(
  "text, lines", [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)]
)
def test_lines_are_counted_with_and_without_a_last_end(tmp_path, text, lines):
  path = tmp_path / "words"
  path.write_text(text)
  assert count_lines(str(path)) == lines

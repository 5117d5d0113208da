"""No test of training is forgotten by the suites that run under each TensorFlow."""

from __future__ import annotations

import re

import pytest

from tests.interop import suites

_SUITES = {
  "WARM_START": suites.WARM_START,
  "MODELS": suites.MODELS,
  "SAVES": suites.SAVES,
  "FACADE": suites.FACADE,
  "CLUSTERS": suites.CLUSTERS,
  "CRASHES": suites.CRASHES,
  "OFFLINE": suites.OFFLINE,
}


@pytest.mark.parametrize(
  "directory",
  ["tests/training", "tests/warm_start", "tests/cluster", "tests/nothing_lost"],
)
def test_each_file_is_in_one_suite(directory):
  found = {
    path.relative_to(suites.ROOT).as_posix()
    for path in (suites.ROOT / directory).rglob("*_test.py")
  }
  assert len(found) > 5
  suites_of = {
    file: [name for name, files in _SUITES.items() if file in files] for file in found
  }
  assert not {file: names for file, names in suites_of.items() if len(names) != 1}


@pytest.mark.parametrize(
  "name, expected", [("_TRAINERS", suites.TRAINERS), ("_PARTS", tuple(suites.PARTS))]
)
def test_bazel_has_a_target_for_each(name, expected):
  build = (suites.ROOT / "tests/interop/BUILD").read_text()
  [listed] = re.findall(rf"^{name} = \[(.*?)\]", build, re.DOTALL | re.MULTILINE)
  assert tuple(re.findall(r'"(\w+)"', listed)) == expected


def test_the_parts_have_each_file_once():
  """And a part's name, by which Bazel runs it, is in no other case."""
  found = [file for files in suites.PARTS.values() for file in files]
  assert sorted(found) == sorted({*suites.TRAINING, *suites.CLUSTERS})
  cases = [(part, file) for part, files in suites.PARTS.items() for file in files]
  for name in suites.PARTS:
    assert {part for part, file in cases if name in f"{part}-{file}"} == {name}


@pytest.mark.parametrize("name", _SUITES)
def test_each_name_is_a_file(name):
  missing = [file for file in _SUITES[name] if not (suites.ROOT / file).is_file()]
  assert not missing


@pytest.mark.parametrize(
  "reason, is_known",
  [
    ("TensorFlow 1.15.5 has no `tf.here`", True),
    ("this machine has no mount", True),
    ("TensorFlow 1.15.5 has no `tf.elsewhere`", False),
    ("it fails", False),
  ],
)
def test_a_test_is_skipped_for_a_known_reason_only(reason, is_known):
  suite = suites.Suite({"f": ["test_b"]}, {"f": {"test_a": reason}}, {}, "")
  if is_known:
    suite.assert_passed("f", "| 1.15.5 | `tf.here` |")
    return
  with pytest.raises(AssertionError, match="test_a"):
    suite.assert_passed("f", "| 1.15.5 | `tf.here` |")

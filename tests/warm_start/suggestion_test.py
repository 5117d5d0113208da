"""Everything that does not fit is reported in one error, with the map that fixes it."""

from __future__ import annotations

import ast
import difflib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.warm_start.assignment_map import (
  expand,
  parse_assignment_map,
)
from estimator_ckpt.warm_start.source_tensors import SourceTensors
from estimator_ckpt.warm_start.suggestion import Wanted, suggest
from tests.warm_start.planning import FLOAT32, plan, started


def pasted(text):
  """The map that a message suggests, as a user pastes it."""
  code = text.partition("assignment_map=")[2]
  code = code[: code.index("\nThe same as flags")]
  return ast.literal_eval(code)


def test_one_error_lists_everything_and_the_map_that_would_fix_it():
  tensors = {f"old/layer_{i}/w": (i + 1,) for i in range(30)}
  variables = {name.replace("old/", "new/"): shape for name, shape in tensors.items()}
  made = plan(tensors, variables, assignment_map={"ol/": "new/"})
  with pytest.raises(errors.VariableMismatchError) as error:
    made.raise_for_problems()
  text = str(error.value)
  assert "checkpoint does not fit this graph: 31 problems; 0 of 30 variables" in text
  assert all(f"'new/layer_{i}/w'" in text for i in range(30))
  assert "A map that would fix it: assignment_map={'old/': 'new/'}" in text
  assert "strict=False" in text
  assert "The same as flags: --assignment_map=old/:new/" in text
  fixed = plan(tensors, variables, assignment_map=pasted(text))
  assert len(fixed.started) == 30


@pytest.mark.parametrize(
  "tensors, variables, given",
  [
    # The suggestion keeps what the user's map already gets right.
    (
      {"old/a": (2,), "old/bb": (3,)},
      {"new/a": (2,), "new/b": (3,)},
      {"old/": "new/"},
    ),
    # The entry for the scope hides another name.
    (
      {"old/a": (2,), "new/b": (3,), "x": (3,)},
      {"new/a": (2,), "new/b": (3,)},
      {"old/": "new/"},
    ),
    # One tensor starts several variables, which only pairs can express.
    (
      {"a": (2,), "b/w": (3,)},
      {"x": (2,), "y": (2,), "c/w": (3,)},
      [("a", "x"), ("a", "y"), ("bb/", "c/")],
    ),
    # More than one line can hold.
    (
      {f"old{i}/{c}": (i + 1, ord(c)) for i in range(5) for c in "ab"},
      {f"new{i}/{c}": (i + 1, ord(c)) for i in range(5) for c in "ab"},
      {"old/": "new/"},
    ),
  ],
)
def test_the_suggested_map_works_as_pasted_and_as_flags(tensors, variables, given):
  made = plan(tensors, variables, assignment_map=given)
  with pytest.raises(errors.VariableMismatchError) as error:
    made.raise_for_problems()
  text = str(error.value)
  assert "A map that would fix it: " in text
  flags = shlex.split(text.partition("as flags: ")[2].partition("\n")[0])
  for fixed in (pasted(text), [flag.partition("=")[2] for flag in flags]):
    again = plan(tensors, variables, assignment_map=fixed)
    again.raise_for_problems()
    assert sorted(started(again)) == sorted(variables)


def test_a_map_is_offered_only_for_what_it_fixes():
  made = plan({"a": (2,), "c": (1,)}, {"a": (3,), "d": (1,)})
  assert made.suggested_map
  assert "A map that would" not in made.message()
  made = plan(
    {"a": (2,), "old/c": (1,)},
    {"a": (3,), "new/c": (1,)},
    assignment_map={"ol/": "new/"},
  )
  assert "A map that would fix 2 of the 3 problems" in made.message()


def test_thousands_of_problems_do_not_take_minutes(monkeypatch):
  """Comparing each of thousands of names with all others would take minutes."""
  compared = []
  compare = difflib.get_close_matches

  def counted(name, candidates, **options):
    compared.append(len(candidates))
    return compare(name, candidates, **options)

  monkeypatch.setattr(difflib, "get_close_matches", counted)
  names = [f"block_{i % 100}/layer_{i}/kernel" for i in range(5000)]
  tensors = {f"old/{name}": (8, 8) for name in names}
  variables = {f"new/{name}": (8, 8) for name in names}
  made = plan(tensors, variables, assignment_map={"odl/": "new/", "odl/x": "new/y"})
  text = made.message()
  for name in names:
    assert f"is mapped to 'odl/{name}'" in text
    assert f"(nearest: 'old/{name}')" in text
  fixed = plan(tensors, variables, assignment_map=pasted(text))
  assert len(fixed.started) == 5000
  # With other last components, the names have nothing in common.
  leaves = {name.replace("kernel", "w"): shape for name, shape in variables.items()}
  plan(tensors, leaves, assignment_map={"old/": "new/"}).message()
  assert sum(compared) < 100_000


def _index(shapes):
  index = Index()
  for i, (name, shape) in enumerate(shapes.items()):
    index.put(name, BundleEntry(FLOAT32, shape, 0, 1000 * i, 8, i))
  return index


def _suggested(wanted, free):
  checkpoint = SourceTensors("checkpoint", _index(free), None)
  return suggest(
    [Wanted(name, FLOAT32, shape) for name, shape in wanted.items()],
    checkpoint.tensors,
  )


def test_a_map_for_a_renamed_scope_is_suggested():
  wanted = {"new/a/w": (2,), "new/b/w": (2,), "new/b/v": (3,)}
  free = {name.replace("new/", "old/"): shape for name, shape in wanted.items()}
  assert _suggested(wanted, free) == {"old/": "new/"}


def test_a_map_for_a_renamed_variable_is_suggested_by_its_shape():
  assert _suggested({"net/kernel": (7, 5)}, {"net/weights": (7, 5), "net/b": (5,)}) == {
    "net/weights": "net/kernel"
  }


def test_nothing_is_suggested_where_shapes_differ():
  assert _suggested({"new/w": (2,)}, {"old/w": (3,)}) == {}


_PART = st.text("abc", min_size=1, max_size=2)
_NAMES = st.lists(
  st.lists(_PART, min_size=1, max_size=3).map("/".join),
  min_size=1,
  max_size=8,
  unique=True,
)


@given(_NAMES, st.lists(_PART, max_size=2), st.lists(_PART, max_size=2))
def test_the_suggested_map_starts_everything_below_a_renamed_scope(names, old, new):
  # If a name precedes a scope of others, the rule would match another variable.
  shapes = {name: (i + 1,) for i, name in enumerate(names)}
  free = {"/".join([*old, name]): shape for name, shape in shapes.items()}
  wanted = {"/".join([*new, name]): shape for name, shape in shapes.items()}
  if old == new:
    return
  checkpoint = SourceTensors("checkpoint", _index(free), None)
  found = expand(parse_assignment_map(_suggested(wanted, free)), checkpoint)
  started = {(c.target, c.tensor.shape) for c in found}
  assert started >= set(wanted.items())


def _bert(scope, layers=3):
  leaves = ["embeddings/word", "pooler/kernel", "pooler/bias"]
  leaves += [f"layer_{i}/{leaf}" for i in range(layers) for leaf in ("kernel", "bias")]
  return {f"{scope}{leaf}": (i + 1, 2) for i, leaf in enumerate(leaves)}


@pytest.mark.parametrize(
  "head, expected",
  [
    # The new model has a new head in the scope that the old model moved to.
    ({"encoder/head/kernel": (99,)}, {"bert/": "encoder/bert/"}),
    # The new variable lies one scope further down.
    (
      {"encoder/bert/adapter/w": (99,)},
      {
        "bert/embeddings/": "encoder/bert/embeddings/",
        "bert/pooler/": "encoder/bert/pooler/",
        **{f"bert/layer_{i}/": f"encoder/bert/layer_{i}/" for i in range(3)},
      },
    ),
    # The new variable is in a layer, so the layer's variables are named one by one.
    (
      {"encoder/bert/pooler/scale": (99,)},
      {
        "bert/embeddings/": "encoder/bert/embeddings/",
        "bert/pooler/kernel": "encoder/bert/pooler/kernel",
        "bert/pooler/bias": "encoder/bert/pooler/bias",
        **{f"bert/layer_{i}/": f"encoder/bert/layer_{i}/" for i in range(3)},
      },
    ),
  ],
)
def test_the_suggestion_is_the_largest_map_that_works(head, expected):
  tensors = {**_bert("bert/"), "cls/predictions/bias": (7,)}
  variables = {**_bert("encoder/bert/"), **head}
  made = plan(tensors, variables)
  assert as_dict(made.suggested_map) == expected
  assert made.stays_new == tuple(head)
  text = made.message()
  assert "A map that would fix it" in text
  assert f"It leaves new: {', '.join(head)}" in text
  fixed = plan(tensors, variables, assignment_map=pasted(text))
  fixed.raise_for_problems()
  assert sorted(started(fixed)) == sorted(_bert("encoder/bert/"))
  assert f"It leaves new: {', '.join(head)}" in str(made)


def test_a_variable_that_its_own_name_starts_is_not_taken_in_by_a_scope():
  tensors = {"bert/a": (2,), "bert/b": (3,), "encoder/x": (4,)}
  variables = {"encoder/bert/a": (2,), "encoder/bert/b": (3,), "encoder/x": (4,)}
  made = plan(tensors, variables)
  assert as_dict(made.suggested_map) == {"bert/": "encoder/bert/"}
  assert len(made.with_map(made.suggested_map).started) == 3


def as_dict(entries):
  return {entry.text: entry.target for entry in entries}

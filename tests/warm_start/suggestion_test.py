"""What does not fit is one error, with the map that would fix it."""

from __future__ import annotations

import ast
import difflib
import shlex

import pytest

from estimator_ckpt import errors
from tests.warm_start.planning import plan, started


def pasted(text):
  """The map that a message offers, as a user pastes it from there."""
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
    # What the user's map does well stays in it.
    (
      {"old/a": (2,), "old/bb": (3,)},
      {"new/a": (2,), "new/b": (3,)},
      {"old/": "new/"},
    ),
    # A name that the scope's entry hides.
    (
      {"old/a": (2,), "new/b": (3,), "x": (3,)},
      {"new/a": (2,), "new/b": (3,)},
      {"old/": "new/"},
    ),
    # One tensor for several variables, which only pairs can say.
    (
      {"a": (2,), "b/w": (3,)},
      {"x": (2,), "y": (2,), "c/w": (3,)},
      [("a", "x"), ("a", "y"), ("bb/", "c/")],
    ),
    # More than fits a line.
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
  """Comparing each of thousands of names with thousands of others would."""
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
  # Other ends of the names: nothing can be told from components.
  leaves = {name.replace("kernel", "w"): shape for name, shape in variables.items()}
  plan(tensors, leaves, assignment_map={"old/": "new/"}).message()
  assert sum(compared) < 100_000

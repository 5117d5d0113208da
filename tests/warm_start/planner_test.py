"""Which tensors start which variables: the plan as a value."""

from __future__ import annotations

import ast
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.warm_start import WarmStart, planner
from estimator_ckpt.warm_start.assignment_map import as_code
from estimator_ckpt.warm_start.matches import Target
from tests.warm_start.planning import (
  FLOAT32,
  left,
  make_source,
  plan,
  problems,
  started,
)

ADAM = {
  "w": (2,),
  "w/Adam": (2,),
  "w/Adam_1": (2,),
  "beta1_power": (),
  "beta2_power": (),
  "global_step": "i",
}


def test_by_default_every_model_variable_of_the_same_name():
  norm = {"n/moving_mean": (3,), "n/moving_variance": (3,)}
  made = plan({**ADAM, **norm, "x": (1,)}, {**ADAM, **norm, "y": (1,)})
  assert started(made) == {name: name for name in ("w", *norm)}
  assert left(made)["w/Adam"] == "optimizer state; optimizer_state=True starts it"
  assert left(made)["global_step"] == "the step; global_step=True starts it"
  assert left(made)["y"] == "not in the checkpoint"
  unused = {item.name: item.reason for item in made.left_in_checkpoint}
  assert unused["x"] == "nothing in the graph takes it"
  assert unused["beta1_power"] == "optimizer state"
  assert not made.problems
  made.raise_for_problems()


def test_optimizer_state_and_step_on_request():
  made = plan(ADAM, ADAM, optimizer_state=True, global_step=True)
  assert started(made) == {name: name for name in ADAM}


def test_a_string_and_a_list_of_it_mean_the_same():
  tensors = {"a/w": (2,), "b/w": (2,), "global_step": "i"}
  for variables in (".*", [".*"]):
    assert sorted(started(plan(tensors, tensors, variables=variables))) == [
      "a/w",
      "b/w",
    ]
  assert sorted(started(plan(tensors, tensors, variables="a"))) == ["a/w"]
  assert sorted(started(plan(tensors, tensors, variables=["a/", "b/w$"]))) == [
    "a/w",
    "b/w",
  ]


def test_variables_that_start_nothing_are_a_problem():
  tensors = {"a/w": (2,), "global_step": "i"}
  made = plan(
    tensors, {**tensors, "b/w": (2,)}, variables=["a/", "c/", "b/", "global_step"]
  )
  assert "variables='c/' matches no variable of the graph" in problems(made)
  assert "variables='b/' starts nothing: 'b/w': not in the checkpoint" in problems(made)
  assert "'global_step': the step; global_step=True starts it" in problems(made)
  assert len(made.problems) == 3


def test_slots_follow_their_variable_through_the_map():
  old = {
    "old/" + name if name.startswith("w") else name: kind for name, kind in ADAM.items()
  }
  for assignment_map in ({"old/": "/"}, {"old/w": "w"}, {r"old/(\w+)": r"\1"}):
    made = plan(old, ADAM, assignment_map=assignment_map, optimizer_state=True)
    assert started(made)["w/Adam_1"] == "old/w/Adam_1", assignment_map
    assert started(made)["beta1_power"] == "beta1_power"


def test_a_slot_is_not_that_of_another_variable_of_its_name():
  tensors = {**ADAM, "old/w": (2,), "v": (2,)}
  made = plan(tensors, ADAM, assignment_map={"old/w": "w"}, optimizer_state=True)
  assert "w/Adam" not in started(made)
  assert left(made)["w/Adam"] == "the checkpoint has none for its variable"
  assert "has no slots for the 2 of this graph" in problems(made)


def test_slots_that_canned_estimators_name_after_parts():
  tensors = {"w": (2,), "w/part_0/Ftrl": (2,), "w/part_0/Ftrl_1": (2,)}
  for variables in ({"w": (2,), "w/Ftrl": (2,), "w/Ftrl_1": (2,)}, tensors):
    made = plan(tensors, variables, optimizer_state=True)
    assert len(made.started) == 3
    assert set(started(made).values()) <= {*tensors, "w/Ftrl", "w/Ftrl_1"}


def test_beta_powers_that_are_missing_are_a_problem():
  tensors = {name: kind for name, kind in ADAM.items() if "power" not in name}
  made = plan(tensors, ADAM, optimizer_state=True)
  assert "'beta1_power' is left out (not in the checkpoint)" in problems(made)


@pytest.mark.parametrize(
  "narrowed",
  [{"variables": "w"}, {"assignment_map": {"w": "w"}, "only_mapped": True}],
)
def test_the_step_and_beta_powers_that_are_asked_for_need_not_be_selected(narrowed):
  made = plan(ADAM, ADAM, optimizer_state=True, global_step=True, **narrowed)
  assert not made.problems
  assert started(made) == {name: name for name in ADAM}
  made = plan(ADAM, ADAM, **narrowed)
  assert started(made) == {"w": "w"}


def test_beta_powers_of_some_slots_are_not_guessed_to_be_of_these():
  both = {**ADAM, "u": (2,), "u/Adam": (2,), "u/Adam_1": (2,)}
  made = plan(both, both, optimizer_state=True, variables="u")
  assert sorted(started(made)) == ["u", "u/Adam", "u/Adam_1"]
  assert (
    "'beta1_power' is left out (not selected by variables=), and the slots that are "
    "started go with a later value of it than the initial one. Map what has its value "
    "(nearest: 'beta1_power')" in problems(made)
  )
  made = plan(both, both, optimizer_state=True, variables=["u", "beta"])
  assert not made.problems


def test_a_variable_that_may_be_state_is_left_out_unless_it_is_trained():
  tensors = {"w": (2,), "w/Mine": (2,)}
  made = plan(tensors, tensors)
  assert sorted(started(made)) == ["w"]
  assert left(made)["w/Mine"].startswith("it may be optimizer state")
  assert sorted(started(plan(tensors, tensors, trainable=["w/Mine"]))) == [
    "w",
    "w/Mine",
  ]
  assert len(plan(tensors, tensors, optimizer_state=True).started) == 2


AVERAGED = {
  "w": (2,),
  "w/ExponentialMovingAverage": (2,),
  "n/moving_mean": (3,),
}


def test_moving_averages_are_matched_used_or_skipped():
  by_default = started(plan(AVERAGED, AVERAGED))
  assert by_default == {name: name for name in AVERAGED}
  used = started(plan(AVERAGED, AVERAGED, moving_averages="use"))
  assert used == {**by_default, "w": "w/ExponentialMovingAverage"}
  skipped = plan(AVERAGED, AVERAGED, moving_averages="skip")
  assert sorted(started(skipped)) == ["n/moving_mean", "w"]


def test_a_moving_average_begins_at_its_variable_where_the_checkpoint_has_none():
  made = plan(
    {"old/w": (2,)},
    {"w": (2,), "w/ExponentialMovingAverage": (2,)},
    assignment_map="old/:/",
  )
  assert started(made) == {"w": "old/w", "w/ExponentialMovingAverage": "old/w"}


def test_moving_averages_through_a_map_into_a_graph_without_them():
  old = {"old/" + name: kind for name, kind in AVERAGED.items()}
  made = plan(old, {"w": (2,)}, assignment_map={"old/w": "w"}, moving_averages="use")
  assert started(made) == {"w": "old/w/ExponentialMovingAverage"}
  assert made.started[0].how == "map 'old/w': 'w', its moving average"


def test_moving_averages_that_are_not_there():
  made = plan({"w": (2,)}, {"w": (2,)}, moving_averages="use")
  assert 'moving_averages="use": the checkpoint has no' in problems(made)


def test_moving_averages_without_their_variables_are_mapped():
  tensors = {"w/ExponentialMovingAverage": (2,)}
  said = problems(plan(tensors, {"w": (2,)}, moving_averages="use"))
  assert "has 'w/ExponentialMovingAverage', but no variable that it is of" in said
  old, new = said.rpartition("variables: ")[2].split(": r")
  pasted = {ast.literal_eval(old): ast.literal_eval("r" + new)}
  made = plan(tensors, {"w": (2,)}, assignment_map=pasted)
  assert started(made) == {"w": "w/ExponentialMovingAverage"}


def test_what_the_map_does_not_mention_is_matched_by_name():
  tensors = {"old/w": (2,), "b": (1,)}
  variables = {"new/w": (2,), "b": (1,)}
  assert started(plan(tensors, variables, assignment_map="old/:new/")) == {
    "new/w": "old/w",
    "b": "b",
  }
  made = plan(tensors, variables, assignment_map="old/:new/", only_mapped=True)
  assert started(made) == {"new/w": "old/w"}
  assert left(made)["b"] == "not in the map, and only_mapped=True"


def test_the_map_goes_before_a_name():
  tensors = {"old/w": (2,), "w": (2,)}
  assert started(plan(tensors, {"w": (2,)}, assignment_map="old/:/")) == {"w": "old/w"}


def test_an_entry_for_one_variable_goes_before_one_for_many():
  tensors = {"old/w": (2,), "old/v": (2,), "other": (2,)}
  made = plan(
    tensors, {"w": (2,), "v": (2,)}, assignment_map={"old/": "/", "other": "w"}
  )
  assert started(made) == {"v": "old/v", "w": "other"}
  assert not made.problems


def test_an_entry_for_one_variable_starts_what_is_else_left_out():
  made = plan(
    ADAM, ADAM, assignment_map={"global_step": "global_step", "w/Adam": "w/Adam"}
  )
  assert sorted(started(made)) == ["global_step", "w", "w/Adam"]


def test_a_mapped_variable_that_the_checkpoint_lacks():
  made = plan(
    {"old/a": (2,), "old/bb": (3,), "c": (1,)},
    {"new/a": (2,), "new/b": (3,), "new/c": (1,)},
    assignment_map="old/:new/",
  )
  assert (
    "'new/b' is mapped to 'old/b' by 'old/': 'new/', which is not there (nearest: 'old/bb')"
    in problems(made)
  )
  assert len(made.problems) == 2


def test_a_mapped_scope_with_the_graphs_own_name_in_the_checkpoint():
  made = plan(
    {"old/a": (2,), "new/b": (3,)},
    {"new/a": (2,), "new/b": (3,)},
    assignment_map="old/:new/",
  )
  assert "map that, 'new/b': 'new/b'" in problems(made)
  fixed = {"old/": "new/", "new/b": "new/b"}
  made = plan(
    {"old/a": (2,), "new/b": (3,)}, {"new/a": (2,), "new/b": (3,)}, assignment_map=fixed
  )
  assert started(made) == {"new/a": "old/a", "new/b": "new/b"}


def test_a_scope_mapped_to_the_root_says_nothing_of_what_it_lacks():
  made = plan({"old/a": (2,)}, {"a": (2,), "head": (3,)}, assignment_map="old/:/")
  assert not made.problems
  assert left(made)["head"] == "not in the checkpoint"


def test_entries_that_match_nothing():
  made = plan(
    {"old/a": (2,), "b": (1,)},
    {"new/a": (2,), "c": (1,)},
    assignment_map={
      "olt/": "new/",
      "d": "c",
      "b": "e",
      "(x)": r"\1",
      "old/": "new/",
      "old/a": "newer/a",
    },
  )
  text = problems(made)
  assert (
    "map 'olt/': 'new/': the checkpoint has nothing below 'olt/' (nearest: 'old/')"
    in text
  )
  assert "map 'd': 'c': the checkpoint has nothing called 'd'" in text
  assert "map 'b': 'e': the graph has no variable 'e'" in text
  assert "map '(x)': '\\\\1': the checkpoint has nothing called '(x)'" in text
  assert "the graph has no variable 'newer/a' (nearest: 'new/a')" in text
  assert len(made.problems) == 5


def test_two_sources_for_one_variable():
  made = plan(
    {"a/w": (2,), "b/w": (2,)}, {"w": (2,)}, assignment_map={"a/": "/", "b/": "/"}
  )
  assert (
    "'w' would be started from 2 tensors by 'a/': '/' and 'b/': '/': 'a/w', 'b/w'"
    in problems(made)
  )
  with pytest.raises(errors.VariableMismatchError, match="2 tensors"):
    made.raise_for_problems()


def test_another_shape_or_dtype():
  made = plan({"a": (2,), "b": "h"}, {"a": (3,), "b": "f"})
  assert (
    "'a' is float32 [3] in the graph, float32 [2] in the checkpoint (as 'a')"
    in problems(made)
  )
  assert (
    "'b' is float32 [] in the graph, float16 [] in the checkpoint (as 'b')"
    in problems(made)
  )


def test_a_shape_that_is_not_known_before_it_runs_fits():
  made = planner.make_plan(
    make_source({"a": (2,)}), [Target("a", FLOAT32, None)], WarmStart("c").options
  )
  assert started(made) == {"a": "a"}


def test_without_strict_problems_are_left_out():
  made = plan({"a": (2,), "b": (1,)}, {"a": (3,), "b": (1,)}, strict=False)
  made.raise_for_problems()
  assert started(made) == {"b": "b"}
  assert left(made)["a"].startswith("is float32 [3]")


def test_nothing_at_all_is_a_problem():
  made = plan({"old/kernel": (2,)}, {"new/kernel": (2,)})
  assert "nothing would be started" in problems(made)
  assert "'new/kernel' is not there (nearest: 'old/kernel')" in problems(made)
  assert as_code(made.suggested_map) == "{'old/': 'new/'}"


def test_the_step_of_code_without_names():
  made = plan({"step": "i", "w": (2,)}, ADAM, global_step=True)
  assert started(made)["global_step"] == "step"
  made = plan({"w": (2,)}, ADAM, global_step=True)
  assert "global_step=True: the checkpoint has no step" in problems(made)


def test_parts_saved_one_by_one_start_a_partitioned_variable():
  made = plan({"e/part_0": (2, 3), "e/part_1": (2, 3)}, {"e": (2, 6)})
  assert made.started[0].source.keys == ("e/part_0", "e/part_1")
  assert made.started[0].source.axis == 1
  assert not made.left_in_checkpoint


def _vocab_info(tmp_path, new, old, **settings):
  for name, words in (("new", new), ("old", old)):
    (tmp_path / name).write_text("".join(word + "\n" for word in words))
  return types.SimpleNamespace(
    **{
      "new_vocab": str(tmp_path / "new"),
      "new_vocab_size": len(new),
      "num_oov_buckets": 0,
      "old_vocab": str(tmp_path / "old"),
      "old_vocab_size": -1,
      "backup_initializer": None,
      "axis": 0,
      **settings,
    }
  )


def test_a_vocabulary_changes_slots_and_averages_too(tmp_path):
  tensors = {"e": (2, 3), "e/Adagrad": (2, 3), "e/ExponentialMovingAverage": (2, 3)}
  variables = dict.fromkeys(tensors, (4, 3))
  made = plan(
    tensors,
    variables,
    vocab_info={"e": _vocab_info(tmp_path, "abcd", "ba")},
    optimizer_state=True,
  )
  assert not made.problems
  changes = {item.target.name: item.vocabulary for item in made.started}
  assert changes["e"] is not None and not changes["e"].keeps_initial
  assert changes["e/Adagrad"].keeps_initial
  assert changes["e/ExponentialMovingAverage"].keeps_initial


def test_a_vocabulary_that_does_not_fit(tmp_path):
  info = _vocab_info(tmp_path, "abcd", "ba")
  made = plan(
    {"e": (2, 3), "f": (1,)},
    {"e": (5, 3), "f": (1,)},
    vocab_info={"e": info, "g": info},
  )
  assert "'e' cannot take the vocabulary" in problems(made)
  assert "vocab_info: the graph has no variable 'g'" in problems(made)


@pytest.mark.parametrize(
  "options, words",
  [
    ({"moving_averages": "used"}, "Did you mean 'use'?"),
    ({"only_mapped": True}, "there is none"),
    ({"variables": "("}, "is no regular expression"),
    ({"variables": []}, "starts nothing"),
    ({"variables": [3]}, "neither the name of a variable"),
    ({"vocab_info": {"e": 3}}, "takes tf.estimator.VocabInfo"),
  ],
)
def test_options_that_cannot_be_meant(options, words):
  with pytest.raises(errors.OptionError) as error:
    WarmStart("checkpoint", **options)
  assert words in str(error.value)


_NAMES = st.lists(
  st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join),
  min_size=1,
  max_size=10,
  unique=True,
)


@given(_NAMES, _NAMES)
def test_every_name_of_both_sides_is_in_the_plan_once(tensors, variables):
  made = plan(
    {name: (len(name),) for name in tensors}, {name: (len(name),) for name in variables}
  )
  of_graph = [*started(made), *left(made)]
  assert sorted(of_graph) == sorted(variables)
  of_checkpoint = [
    *started(made).values(),
    *(item.name for item in made.left_in_checkpoint),
  ]
  assert sorted(of_checkpoint) == sorted(tensors)


@given(_NAMES, st.sampled_from(["old/", "old/er/"]), st.sampled_from(["new/", "/"]))
def test_a_map_of_scopes_starts_what_had_the_same_name(names, old, new):
  prefix = "" if new == "/" else new
  tensors = {old + name: (i + 1,) for i, name in enumerate(names)}
  variables = {prefix + name: (i + 1,) for i, name in enumerate(names)}
  made = plan(tensors, variables, assignment_map={old: new}, optimizer_state=True)
  assert started(made) == dict(zip(variables, tensors))

"""`estimator-ckpt make-map`: the pairs, the guesses, and the names left over."""

from __future__ import annotations

import json

import numpy as np

from estimator_ckpt.checkpoint.name_map import NameMap
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.cli import main
from estimator_ckpt.files.keras.starter_map import make_map
from tests import golden
from tests.bundle_builder import BundleBuilder


def _write(path, **shapes):
  builder = BundleBuilder()
  for name, shape in shapes.items():
    builder.numbers(name.replace("__", "/"), np.zeros(shape))
  return builder.write(str(path))


def test_the_output_is_a_name_map_that_leads_from_one_to_the_other(tmp_path, capsys):
  keras = golden.path("tf2.15/keras2_recurrent")
  other = golden.path("tf2.21/keras3_recurrent")
  assert main.run(["make-map", keras, other]) == 0
  (tmp_path / "names.txt").write_text(capsys.readouterr().out)
  names = ["lstm/lstm_cell/recurrent_kernel", "embedding/embeddings", "logits/bias"]
  # A rule whose name the checkpoint lacks is an error, so the input has all names.
  every = [rule.old for rule in make_map(keras, other).rules]
  assert set(names) <= set(every)
  mapped = NameMap.parse(str(tmp_path / "names.txt")).apply(every)
  assert mapped["lstm/lstm_cell/recurrent_kernel"].endswith(
    "lstm_cell/recurrent_kernel"
  )
  assert mapped["logits/bias"] == "sequential/logits/bias"


def test_what_only_order_tells_is_called_a_guess(tmp_path, capsys):
  ours = _write(tmp_path / "a", p__x=(2, 3), p__y=(2, 3), q=(5,))
  theirs = _write(tmp_path / "b", r__u=(2, 3), s__v=(2, 3), t=(5,), w=(7,))
  assert main.run(["make-map", ours, theirs]) == 1
  out = capsys.readouterr().out
  why = "several are of one shape, and only their order pairs them"
  assert (
    f"# By shape and order; a guess: look at each: {why}\np/x:r/u\np/y:s/v\n" in out
  )
  why = "the scopes agree, and no other variable in them has this shape"
  assert f"# By scope and shape; a guess: {why}\nq:t\n" in out
  assert "# only in the second: w [7]" in out


def test_shapes_of_which_there_are_not_as_many_are_not_paired(tmp_path):
  ours = _write(tmp_path / "a", x=(2, 3), y=(2, 3))
  theirs = _write(tmp_path / "b", u=(2, 3))
  found = make_map(ours, theirs)
  assert not found.rules
  assert found.source_only == {"x": (2, 3), "y": (2, 3)}


def test_a_recurrent_cell_is_mapped_as_a_scope_both_ways(tmp_path):
  n, u = 5, 3
  tf1 = _write(
    tmp_path / "a", rnn__lstm_cell__kernel=(n + u, 4 * u), rnn__lstm_cell__bias=(4 * u,)
  )
  keras = _write(
    tmp_path / "b",
    lstm__cell__kernel=(n, 4 * u),
    lstm__cell__recurrent_kernel=(u, 4 * u),
    lstm__cell__bias=(4 * u,),
  )
  assert [str(r) for r in make_map(tf1, keras).rules] == ["rnn/lstm_cell/:lstm/cell/"]
  assert [str(r) for r in make_map(keras, tf1).rules] == ["lstm/cell/:rnn/lstm_cell/"]


def test_json(capsys):
  path = golden.path("tf2.15/keras2_adam")
  assert main.run(["make-map", path, path, "--json"]) == 0
  answer = json.loads(capsys.readouterr().out)
  assert answer["rules"][0]["old"] == answer["rules"][0]["new"]
  assert not answer["source_only"] and not answer["target_only"]


def test_embeddings_of_one_shape_are_paired_by_words_and_not_by_order(tmp_path):
  ours = _write(
    tmp_path / "a",
    bert__embeddings__position_embeddings=(4, 3),
    bert__embeddings__token_type_embeddings=(4, 3),
  )
  theirs = _write(
    tmp_path / "b", enc__a_token_type__emb=(4, 3), enc__b_position__emb=(4, 3)
  )
  found = make_map(ours, theirs)
  assert {rule.old.rpartition("/")[2]: rule.new for rule in found.rules} == {
    "position_embeddings": "enc/b_position/emb",
    "token_type_embeddings": "enc/a_token_type/emb",
  }
  assert {rule.how for rule in found.rules} == {"shape and words"}
  assert all("the words of the names pair them" in rule.guess for rule in found.rules)


def test_names_that_end_alike_are_no_guess(tmp_path):
  ours = _write(
    tmp_path / "a",
    bert__embeddings__position_embeddings=(4, 3),
    bert__embeddings__token_type_embeddings=(4, 3),
  )
  theirs = _write(
    tmp_path / "b",
    enc__token_type_embeddings__embeddings=(4, 3),
    enc__position_embeddings__embeddings=(4, 3),
  )
  found = make_map(ours, theirs)
  assert len(found.rules) == 2 and not found.target_only
  for rule in found.rules:
    assert rule.new.split("/")[1] == rule.old.rpartition("/")[2]


def test_a_transposed_matrix_is_a_guess_that_says_so(tmp_path):
  like = golden.path("tf2.15/keras2_recurrent")
  with open_checkpoint(like) as reader:
    shape = reader.shapes[reader.names["logits/kernel"]]
  ours = _write(tmp_path / "a", output_weights=shape[::-1])
  [rule] = make_map(ours, like).rules
  assert str(rule) == "output_weights:logits/kernel transpose=1,0"
  assert rule.guess

"""The names of parts, and of the parts of slots."""

from __future__ import annotations

import pytest

from estimator_ckpt.checkpoint.part_names import is_slot_part, may_be_slot_part


@pytest.mark.parametrize(
  ("key", "name", "expected"),
  [
    ("dnn/emb/t_0/Adam", "dnn/dnn/emb/Adam", True),
    ("dnn/emb/_10/Adam", "dnn/dnn/emb/Adam", True),
    ("emb/part_0/Ftrl", "linear/emb/Ftrl", True),
    ("net/emb/Momentum", "net/emb/Momentum", False),
    ("dnn/emb/t_0/Adam", "dnn/dnn/emb/Adam_1", False),
    ("dnn/other/t_0/Adam", "dnn/dnn/emb/Adam", False),
  ],
)
def test_the_name_of_a_part_of_a_slot_made_in_a_scope(key, name, expected):
  prefix = name[: name.rfind("emb")].split("/")[0]
  if (key, name) == ("emb/part_0/Ftrl", "linear/emb/Ftrl"):
    assert len(prefix) + 1 == len("part_0/")
  assert is_slot_part(key, name) == expected
  assert may_be_slot_part(key) or not expected

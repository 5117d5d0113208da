from __future__ import annotations

from estimator_ckpt.files.page.hierarchy import flatten
from estimator_ckpt.files.size_tree import object_tree, scope_tree
from estimator_ckpt.files.summary import inspect_checkpoint
from tests.bundle_builder import dual_builder


def summary_and_rows(tmp_path):
  summary = inspect_checkpoint(dual_builder().write(tmp_path / "model.ckpt-7"))
  return summary, {tensor.key: row for row, tensor in enumerate(summary.tensors)}


def paths(nodes) -> list[str]:
  """The path of every branch, computed from labels and parents alone."""
  found: list[str] = []
  for label, parent, own in zip(nodes["label"], nodes["parent"], nodes["own"]):
    above = found[parent] if parent >= 0 else ""
    found.append(f"{above}/{f'row {own}' if label == 0 else label}")
  return found


def test_scopes_lead_to_their_tensors(tmp_path):
  summary, rows = summary_and_rows(tmp_path)
  nodes = flatten(scope_tree(summary.tensors), rows)
  own = dict(zip(paths(nodes), nodes["own"]))
  for name in ("net/w", "net/w/Adam", "net/b"):
    assert summary.tensors[own[f"//{name}"]].name == name
  assert own["//net"] is None
  assert nodes["see"] == []


def test_a_label_that_is_the_name_is_not_repeated(tmp_path):
  summary, rows = summary_and_rows(tmp_path)
  nodes = flatten(scope_tree(summary.tensors), rows)
  assert nodes["label"][nodes["own"].index(rows["global_step"])] == 0


def test_objects_of_two_paths_are_there_once_and_seen_from_the_other(tmp_path):
  summary, rows = summary_and_rows(tmp_path)
  nodes = flatten(object_tree(summary.tensors, summary.graph), rows)
  found = paths(nodes)
  seen = {found[number]: target for number, target in nodes["see"]}
  target = seen["//net/w"]
  assert nodes["own"][target] == rows["net/w"]
  assert nodes["label"][nodes["parent"][target]] == "var_list"


def test_parents_stand_before_what_is_below_them(tmp_path):
  summary, rows = summary_and_rows(tmp_path)
  nodes = flatten(object_tree(summary.tensors, summary.graph), rows)
  assert nodes["parent"][0] == -1
  assert all(parent < node for node, parent in enumerate(nodes["parent"]))

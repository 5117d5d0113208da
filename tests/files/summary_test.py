from __future__ import annotations

import os

import pytest

from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.roles import RoleKind
from estimator_ckpt.errors import CheckpointNotFoundError
from estimator_ckpt.files.summary import Total, inspect_checkpoint
from tests import golden
from tests.bundle_builder import BundleBuilder, dual_builder


def _roles(summary):
  return {t.name: role.kind for t, role in zip(summary.tensors, summary.roles)}


@pytest.mark.parametrize("name", golden.names())
def test_every_checkpoint_that_tensorflow_wrote_can_be_inspected(name):
  summary = inspect_checkpoint(golden.path(name))
  assert summary.prefix == golden.path(name)
  assert summary.total.tensors == len(golden.manifest(name)["tensors"])
  assert (
    sum(total.tensors for total in summary.totals.values()) == summary.total.tensors
  )
  assert summary.problems == ()
  assert all(file.size is not None for file in summary.data_files)


def test_a_name_based_checkpoint():
  summary = inspect_checkpoint(golden.directory("tf1.15/adam_dense"))
  assert summary.format is CheckpointFormat.TF1
  assert (summary.step, summary.step_key) == (7, "global_step")
  assert summary.totals == {
    RoleKind.VARIABLE: Total(4, 156),
    RoleKind.SLOT: Total(8, 312),
    RoleKind.NON_SLOT: Total(2, 8),
    RoleKind.GLOBAL_STEP: Total(1, 8),
  }
  assert summary.index_size == os.path.getsize(summary.prefix + ".index")
  assert [file.size for file in summary.data_files] == [484]


def test_a_dual_checkpoint_counts_shared_bytes_once(tmp_path):
  summary = inspect_checkpoint(dual_builder().write(tmp_path / "m"))
  assert summary.format is CheckpointFormat.DUAL
  assert summary.step == 7
  assert summary.total.size == summary.data_files[0].size
  assert summary.totals[RoleKind.SLOT] == Total(2, 48)


@pytest.mark.parametrize(
  "name", ["tf2.15/keras2_adam", "tf2.15/keras2_legacy_adam", "tf2.21/keras3_adam"]
)
def test_what_is_a_keras_optimizers_is_told_from_the_models(name):
  summary = inspect_checkpoint(golden.path(name))
  assert summary.totals[RoleKind.VARIABLE] == Total(8, 200)
  assert summary.totals[RoleKind.SLOT] == Total(12, 336)
  assert summary.step == 5
  roles = _roles(summary)
  assert roles["step"] is RoleKind.GLOBAL_STEP
  assert roles["save_counter"] is RoleKind.OTHER


def test_without_a_step_optimizers_iterations_are_the_step(tmp_path):
  builder = BundleBuilder()
  builder.numbers("optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE", 12, "int64")
  from estimator_ckpt.checkpoint.object_graph import ObjectGraph

  graph = ObjectGraph()
  graph.add_variable([("optimizer", "iter")], "Adam/iter")
  builder.object_graph(graph)
  summary = inspect_checkpoint(builder.write(tmp_path / "m"))
  assert (summary.step, summary.step_key) == (
    12,
    "optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE",
  )


def test_a_step_may_be_negative_and_of_four_bytes(tmp_path):
  builder = BundleBuilder()
  builder.numbers("global_step", -3, "int32")
  assert inspect_checkpoint(builder.write(tmp_path / "m")).step == -3


def test_a_global_step_that_is_no_integer_scalar_is_not_taken_for_one(tmp_path):
  builder = BundleBuilder()
  builder.numbers("global_step", [1.0, 2.0])
  assert inspect_checkpoint(builder.write(tmp_path / "m")).step is None


def test_without_its_data_files_a_checkpoint_can_still_be_inspected(tmp_path):
  prefix = dual_builder().write(tmp_path / "m")
  os.remove(f"{prefix}.data-00000-of-00001")
  summary = inspect_checkpoint(prefix)
  assert summary.format is CheckpointFormat.DUAL
  assert (summary.step, summary.graph) == (None, None)
  assert [file.size for file in summary.data_files] == [None]
  assert [problem.split(":")[0] for problem in summary.problems] == [
    "the object graph cannot be read",
    "the step cannot be read",
  ]
  assert [t.name for t in summary.tensors if "net/w" in t.keys] == ["net/w"]


def test_a_data_file_that_is_cut_says_so_and_which_tensors_it_lacks(tmp_path):
  builder = BundleBuilder(num_shards=2)
  for name, shard in (("a", 0), ("b", 0), ("c", 1)):
    builder.numbers(name, [1, 2, 3], shard=shard)
  builder.numbers("empty", [], shard=1)
  prefix = builder.write(tmp_path / "m")
  whole = inspect_checkpoint(prefix)
  assert [(f.size, f.needed, f.is_cut) for f in whole.data_files] == [
    (24, 24, False),
    (12, 12, False),
  ]
  assert not any(map(whole.trouble, whole.tensors))
  os.truncate(f"{prefix}.data-00000-of-00002", 13)
  os.remove(f"{prefix}.data-00001-of-00002")
  summary = inspect_checkpoint(prefix)
  assert [(f.size, f.is_cut) for f in summary.data_files] == [(13, True), (None, False)]
  trouble = {tensor.name: summary.trouble(tensor) for tensor in summary.tensors}
  assert trouble == {"a": None, "b": "cut", "c": "missing", "empty": None}


def test_a_tf2_checkpoint_without_its_data_is_still_one(tmp_path):
  prefix = golden.copy("tf2.15/module_tree", tmp_path / "copy")
  for path in (tmp_path / "copy").glob("*.data-*"):
    path.unlink()
  assert inspect_checkpoint(prefix).format is CheckpointFormat.TF2


def test_a_saved_model_says_which_tensorflow_wrote_it():
  summary = inspect_checkpoint(golden.path("tf2.15/saved_module"))
  assert summary.tensorflow_version == "2.15.1"


def test_nothing_there_is_an_error(tmp_path):
  with pytest.raises(CheckpointNotFoundError, match="no checkpoint there"):
    inspect_checkpoint(tmp_path / "m")

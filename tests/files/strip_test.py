from __future__ import annotations

import json
import os

import pytest

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.cli import main
from estimator_ckpt.errors import CorruptCheckpointError, OptionError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.strip import strip
from tests import golden, stored

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_GRAPH = layout.OBJECT_GRAPH_KEY


def _data_bytes(prefix):
  index = Index.read(str(prefix))
  return sum(os.path.getsize(path) for path in index.data_paths(str(prefix)))


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize(
  "name", [n for n in golden.names("tf1.15/optimizers") if "gradient" not in n]
)
def test_only_the_variables_are_left_of_any_optimizer(name, compact, tmp_path):
  strip(golden.path(name), tmp_path / "out", optimizer_state=True, compact=compact)
  before, after = stored.stored(golden.path(name)), stored.stored(tmp_path / "out")
  variables = [f"net/dense_{n}/{v}" for n in (1, 2) for v in ("kernel", "bias")]
  assert after == {key: before[key] for key in [*variables, "global_step"]}
  if compact:
    assert _data_bytes(tmp_path / "out") == sum(
      len(data) for tensor in after.values() for _, data in tensor.parts
    )


@pytest.mark.parametrize("name", ["canned_dnn", "canned_linear", "canned_dnn_linear"])
def test_canned_estimators(name, tmp_path):
  strip(golden.path(f"tf1.15/{name}"), tmp_path / "out", optimizer_state=True)
  assert not [
    k for k in stored.stored(tmp_path / "out") if "Adagrad" in k or "Ftrl" in k
  ]


def test_moving_averages_go_and_batch_norms_statistics_stay(tmp_path):
  prefix = golden.path("tf1.15/batch_norm")
  strip(prefix, tmp_path / "out", moving_averages=True)
  after = stored.stored(tmp_path / "out")
  assert not [key for key in after if "ExponentialMovingAverage" in key]
  assert "net/batch_normalization/moving_mean" in after
  assert "net/dense/kernel/Adam" in after


@pytest.mark.parametrize("compact", [False, True])
def test_a_dual_checkpoint_loses_names_and_objects(tmp_path, compact):
  convert(golden.path("tf1.15/adam_dense"), tmp_path / "dual", "dual")
  strip(tmp_path / "dual", tmp_path / "out", optimizer_state=True, compact=compact)
  after = stored.stored(tmp_path / "out")
  assert not [key for key in after if "Adam" in key or "power" in key]
  assert after["var_list/global_step" + _VALUE] == stored.scalar(7)
  graph = stored.object_graph(tmp_path / "out")
  assert {a.checkpoint_key for _, a in graph.attributes()} <= set(after)
  # Aliases are still aliases.
  index = Index.read(str(tmp_path / "out"))
  key = "net/dense_1/kernel"
  assert index.location(key) == index.location(layout.object_key(["var_list", key]))


@pytest.mark.parametrize(
  "name", ["tf2.15/keras2_legacy_adam", "tf2.15/keras2_adam", "tf2.21/keras3_adam"]
)
def test_keras_optimizers(name, tmp_path):
  strip(golden.path(name), tmp_path / "out", optimizer_state=True, compact=True)
  before, after = stored.stored(golden.path(name)), stored.stored(tmp_path / "out")
  model = {
    key: tensor
    for key, tensor in before.items()
    if key.startswith(("model/", "step/", "save_counter/", "optimizer/_trainable_"))
    and ".OPTIMIZER_SLOT" not in key
  }
  assert {k: v for k, v in after.items() if k != _GRAPH} == model
  graph = stored.object_graph(tmp_path / "out")
  assert {a.checkpoint_key for _, a in graph.attributes()} == set(model)
  assert not any(node.slot_variables for node in graph.nodes)


def test_variables_by_name_go_with_their_slots(tmp_path):
  prefix = golden.path("tf1.15/adam_dense")
  [report] = strip(prefix, tmp_path / "out", variables=r"net/dense_\d/bias").checkpoints
  left_out = report.plan.left_out
  assert left_out["net/dense_1/bias"] == "matches 'net/dense_\\\\d/bias'"
  assert left_out["net/dense_1/bias/Adam_1"] == "slot of 'net/dense_1/bias'"
  assert len(left_out) == 6
  assert set(stored.stored(tmp_path / "out")) == set(stored.stored(prefix)) - {
    *left_out
  }


def test_slices_move_with_their_tensor(tmp_path):
  prefix = golden.path("tf1.15/multi_shard")
  strip(prefix, tmp_path / "out", variables=["first/.*"], compact=True)
  before, after = stored.stored(prefix), stored.stored(tmp_path / "out")
  assert after == {k: v for k, v in before.items() if not k.startswith("first/")}
  assert len(after["spread/embedding"].parts) == 3


def test_strings_and_what_is_no_number_are_copied_as_they_are(tmp_path):
  for name in ("tf1.15/many_dtypes", "tf1.15/tables", "tf1.15/iterator"):
    strip(golden.path(name), tmp_path / name, compact=True)
    assert stored.stored(tmp_path / name) == stored.stored(golden.path(name))


def test_what_may_be_a_variable_is_kept_and_listed(tmp_path):
  tensors = {
    "w": stored.vector(1, 2),
    "w/Adam": stored.vector(1, 2),
    "w/Momentum": stored.vector(3),
    "w/Mine": stored.vector(4, 5),
    "gone/Adam": stored.vector(6),
  }
  prefix = stored.write(tmp_path / "x", tensors)
  report = str(strip(prefix, tmp_path / "y", optimizer_state=True))
  assert set(stored.stored(tmp_path / "y")) == set(tensors) - {"w/Adam"}
  assert "w/Momentum: it has the shape [1], and 'w' has [2]" in report
  assert "w/Mine: it stands below the variable 'w'" in report
  assert "gone/Adam: there is no variable 'gone'" in report


def test_compacting_gives_back_what_earlier_steps_left(tmp_path):
  prefix = golden.path("tf1.15/adam_dense")
  strip(prefix, tmp_path / "a", optimizer_state=True)
  assert _data_bytes(tmp_path / "a") == _data_bytes(prefix)
  strip(tmp_path / "a", tmp_path / "b", compact=True)
  assert stored.stored(tmp_path / "b") == stored.stored(tmp_path / "a")
  assert _data_bytes(tmp_path / "b") == 164


def test_compacting_drops_files_that_nothing_needs(tmp_path):
  tensors = {name: stored.vector(n) for n, name in enumerate("abcd")}
  prefix = stored.write(tmp_path / "x", tensors, num_shards=4)
  strip(prefix, tmp_path / "y", variables=["b", "c"], compact=True)
  assert stored.stored(tmp_path / "y") == {"a": tensors["a"], "d": tensors["d"]}
  assert Index.read(str(tmp_path / "y")).header.num_shards == 2


def test_compacting_checks_what_it_copies(tmp_path):
  prefix = stored.write(tmp_path / "x", {"w": stored.vector(1), "v": stored.vector(2)})
  with open(prefix + ".data-00000-of-00001", "r+b") as file:
    file.seek(5)
    file.write(b"\x99")
  with pytest.raises(
    CorruptCheckpointError, match="the checksum of 'v' does not match"
  ):
    strip(prefix, tmp_path / "y", compact=True)
  assert not list(tmp_path.glob("y*"))
  strip(prefix, tmp_path / "y", variables="w")


def test_the_progress_of_compacting(tmp_path):
  seen = []
  strip(
    golden.path("tf1.15/adam_dense"),
    tmp_path / "y",
    optimizer_state=True,
    compact=True,
    progress=lambda done, total: seen.append((done, total)),
  )
  assert seen[-1] == (484, 484)
  assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize(
  "options, words",
  [
    ({}, "nothing is to be left out"),
    (
      {"variables": ["net/dense_1"]},
      "matches none of the 15 names as a whole; the near",
    ),
    ({"variables": ["("]}, "no regular expression"),
    ({"variables": [".*"]}, "nothing would be left of 15 tensors"),
  ],
)
def test_what_cannot_be_meant(tmp_path, options, words):
  with pytest.raises(OptionError, match=words):
    strip(golden.path("tf1.15/adam_dense"), tmp_path / "out", **options)
  assert not list(tmp_path.glob("out*"))


def test_the_command(tmp_path, capsys):
  argv = ["strip", golden.path("tf1.15/batch_norm"), str(tmp_path / "out"), "--compact"]
  argv += ["--optimizer_state", "--moving-averages", "--variables=net/logits/.*"]
  assert main.run(argv) == 0
  assert "left out (22)" in capsys.readouterr().out
  assert main.run([*argv, "--json", "--overwrite"]) == 0
  [data] = json.loads(capsys.readouterr().out)["checkpoints"]
  assert data["left_out"]["beta1_power"] == "optimizer state"


def test_the_bytes_that_stay_are_said(tmp_path):
  prefix = golden.path("tf1.15/adam_dense")
  report = strip(prefix, tmp_path / "out", optimizer_state=True)
  kept = sum(
    len(data)
    for tensor in stored.stored(tmp_path / "out").values()
    for _, data in tensor.parts
  )
  unneeded = _data_bytes(prefix) - kept
  assert unneeded > 0
  assert f"{unneeded:,} bytes of what was left out stay in the data" in str(report)
  assert "--compact" in str(report)
  report = strip(prefix, tmp_path / "compact", optimizer_state=True, compact=True)
  assert _data_bytes(tmp_path / "compact") == kept
  assert "stay in the data" not in str(report)


def test_bytes_that_another_key_needs_are_not_counted(tmp_path):
  tensors = {"w": stored.vector(1, 2), "v": stored.vector(3)}
  prefix = stored.write(tmp_path / "m", tensors)
  index = Index.read(prefix)
  index.alias("x", "w")
  index.write(prefix)
  report = strip(prefix, tmp_path / "out", variables=["x"])
  assert "stay in the data" not in str(report)
  report = strip(prefix, tmp_path / "other", variables=["x", "w"])
  assert "8 bytes of what was left out stay in the data" in str(report)


def test_state_that_is_not_there_is_said(tmp_path):
  prefix = stored.write(tmp_path / "m", {"w": stored.vector(1)})
  report = strip(prefix, tmp_path / "out", moving_averages=True)
  assert "note: there are no moving averages to leave out" in str(report)
  assert "optimizer state" not in str(report)
  report = strip(prefix, tmp_path / "other", optimizer_state=True)
  assert "note: there is no optimizer state to leave out" in str(report)

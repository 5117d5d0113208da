"""`estimator-ckpt convert --keras`: results and refusals; no TensorFlow."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.cli import main
from tests import golden, stored
from tests.bundle_builder import BundleBuilder

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OPTIMIZERS = "tf1.15/optimizers/"


def _convert(source, target, **options):
  """Converts to Keras 3; passes keras_options through."""
  common = {"to": "tf2", "keras": "3"}
  return eckpt.convert(source, str(target), **{**common, **options})


def _trainable(name):
  tensors = golden.manifest(name)["tensors"]
  found = [n for n in tensors if n.endswith(("/kernel", "/bias"))]
  return sorted(found, key=lambda n: (n.rpartition("/")[0], n.endswith("bias")))


def _write(path, *names, step=7):
  builder = BundleBuilder()
  for number, name in enumerate(names):
    scalar = name.startswith("beta")
    value = 0.9 ** (step + 1) if scalar else np.arange(3) + 10 * number
    builder.numbers(name, value)
  builder.numbers("global_step", step, "int64")
  return builder.write(str(path))


def test_nothing_but_numbers_and_the_graph_is_written(tmp_path):
  name = _OPTIMIZERS + "adam"
  trainable = _trainable(name)
  report = _convert(
    golden.path(name), tmp_path / "out", keras_options={"trainable": trainable}
  )
  (done,) = report.checkpoints
  assert done.placed == ("link", "write") or done.placed == ("copy", "write")
  assert not done.plan.tensors
  assert report.variables[0].optimizer.exactness == "same"
  expected = golden.expected(name)
  with eckpt.open_checkpoint(tmp_path / "out") as reader:
    assert reader["optimizer/_iterations" + _VALUE] == expected["global_step"]
    for position, variable in enumerate(trainable):
      np.testing.assert_array_equal(
        reader[f"model/{variable}{_VALUE}"], expected[variable]
      )
      for slot, suffix in (("_momentums", "Adam"), ("_velocities", "Adam_1")):
        np.testing.assert_array_equal(
          reader[f"optimizer/{slot}/{position}{_VALUE}"],
          expected[f"{variable}/{suffix}"],
        )


@pytest.mark.parametrize(
  ("name", "kind"),
  [
    ("adam", "Adam"),
    ("momentum", "Momentum"),
    ("nesterov", "Momentum"),
    ("adagrad", "Adagrad"),
    ("rmsprop", "RMSProp"),
    ("rmsprop_centered", "RMSProp"),
    ("ftrl", "Ftrl"),
    ("adadelta", "Adadelta"),
    ("gradient_descent", "GradientDescent"),
  ],
)
def test_the_optimizer_is_recognised_by_its_names(name, kind, tmp_path):
  settings = {"learning_rate": 0.1, "momentum": 0.9}
  name = _OPTIMIZERS + name
  options = {"trainable": _trainable(name), "settings": settings}
  if "rmsprop" in name:
    options["settings"] = {"learning_rate": 0.1}
  report = _convert(golden.path(name), tmp_path / "out", keras_options=options)
  assert report.variables[0].optimizer.source == f"TensorFlow 1's {kind}Optimizer"


def test_two_optimizers_are_an_error_that_lists_both(tmp_path, capsys):
  source = _write(tmp_path / "m", "w", "w/Adam", "w/Adam_1", "w/Momentum")
  argv = ["convert", source, str(tmp_path / "out"), "--to=tf2", "--keras=3"]
  assert main.run(argv) == 2
  err = capsys.readouterr().err
  assert "TensorFlow 1's AdamOptimizer" in err
  assert "TensorFlow 1's MomentumOptimizer" in err and "--optimizer" in err
  assert not os.path.exists(tmp_path / "out.index")
  assert main.run([*argv, "--optimizer=adam"]) == 0
  assert "w/Momentum (Keras has no such state)" in capsys.readouterr().out


def test_two_optimizers_of_one_kind_are_an_error_that_lists_both(tmp_path):
  names = ["w", "w/Adam", "w/Adam_1", "w/Adam_2", "w/Adam_3"]
  source = _write(tmp_path / "m", *names)
  with pytest.raises(errors.VariableMismatchError, match="Adam, Adam number 2"):
    _convert(source, tmp_path / "out")


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (["w", "w/LARSOptimizer"], "LARSOptimizer .there are no rules"),
    (["w", "w/Nadam", "w/Nadam_1"], "Nadam .Keras' Nadam has a schedule"),
    (
      ["w", *(f"w/RMSProp{n}" for n in ("", "_1", "_2", "_3", "_4", "_5"))],
      "RMSProp .the names do not tell",
    ),
    (["w", "training/Adam/w/m", "training/Adam/w/v"], "Adam of Keras"),
  ],
)
def test_state_that_is_not_understood_is_refused_by_name(names, message, tmp_path):
  source = _write(tmp_path / "m", *names)
  with pytest.raises(errors.OptionError, match=message):
    _convert(source, tmp_path / "out")
  report = _convert(source, tmp_path / "out", optimizer="none")
  assert len(report.checkpoints[0].plan.left_out) == len(names) - 1


def test_an_optimizer_without_state_in_the_checkpoint_is_refused(tmp_path):
  source = _write(tmp_path / "m", "w", "w/Adam", "w/Adam_1")
  with pytest.raises(errors.UnsupportedCheckpointError, match="but that of .*Adam"):
    _convert(source, tmp_path / "out", optimizer="ftrl")


def test_an_unknown_optimizer_has_a_nearest_one(tmp_path):
  source = _write(tmp_path / "m", "w", "w/Adam", "w/Adam_1")
  with pytest.raises(errors.OptionError, match="Did you mean 'adam'"):
    _convert(source, tmp_path / "out", optimizer="adan")


def test_the_order_of_variables_is_not_guessed(tmp_path):
  names = ["a", "a/Adam", "a/Adam_1", "b", "b/Adam", "b/Adam_1"]
  source = _write(tmp_path / "m", *names)
  with pytest.raises(errors.OptionError, match="order of model.trainable_variables"):
    _convert(source, tmp_path / "out")
  # The slots of a legacy optimizer are children of their variables, so it needs no
  # order.
  _convert(source, tmp_path / "out", keras="2-legacy")


def test_steps_come_of_beta_powers_where_there_is_no_other_source(tmp_path):
  builder = BundleBuilder()
  for name in ("w", "w/Adam", "w/Adam_1"):
    builder.numbers(name, [1, 2, 3])
  for name, beta in (("beta1_power", 0.9), ("beta2_power", 0.999)):
    builder.numbers(name, beta**13)
  source = builder.write(str(tmp_path / "m"))
  _convert(source, tmp_path / "out")
  with eckpt.open_checkpoint(tmp_path / "out") as reader:
    assert reader["optimizer/_iterations" + _VALUE] == 12


def test_steps_that_disagree_are_an_error_until_one_source_is_named(tmp_path, capsys):
  builder = BundleBuilder()
  for name in ("w", "w/Adam", "w/Adam_1"):
    builder.numbers(name, [1, 2, 3])
  builder.numbers("beta1_power", 0.9**5)
  builder.numbers("global_step", 100, "int64")
  source = builder.write(str(tmp_path / "n"))
  argv = ["convert", source, str(tmp_path / "out"), "--to=tf2", "--keras=3"]
  assert main.run(argv) == 2
  assert "The global step is 100" in capsys.readouterr().err
  for flag, steps in (("beta_powers", 4), ("global_step", 100), ("12", 12)):
    assert main.run([*argv, f"--iterations={flag}", "--overwrite"]) == 0
    with eckpt.open_checkpoint(tmp_path / "out") as reader:
      assert reader["optimizer/_iterations" + _VALUE] == steps


def test_recurrent_cells_are_refused_without_the_model(tmp_path):
  with pytest.raises(errors.OptionError, match="recurrent cells.*like="):
    _convert(golden.path("tf1.15/rnn_cells"), tmp_path / "out", optimizer="none")


def test_a_whole_model_dir_is_converted_and_its_state_file_written(tmp_path):
  for step in (3, 7):
    _write(tmp_path / "in" / f"model.ckpt-{step}", "w", "w/Adam", "w/Adam_1", step=step)
  report = _convert(str(tmp_path / "in"), tmp_path / "out")
  assert len(report.checkpoints) == len(report.variables) == 2
  for step in (3, 7):
    with eckpt.open_checkpoint(tmp_path / "out" / f"model.ckpt-{step}") as reader:
      assert reader["optimizer/_iterations" + _VALUE] == step
  assert eckpt.open_checkpoint(tmp_path / "out").prefix.endswith("model.ckpt-7")


def test_dual_keeps_the_names(tmp_path):
  source = _write(tmp_path / "m", "w", "w/Adam", "w/Adam_1")
  _convert(source, tmp_path / "out", to="dual")
  with eckpt.open_checkpoint(tmp_path / "out") as reader:
    assert {"w", "w/Adam", "w/Adam_1", "global_step"} <= set(reader)
    np.testing.assert_array_equal(
      reader["w/Adam_1"], reader["optimizer/_velocities/0" + _VALUE]
    )


def test_json_has_every_variable(tmp_path, capsys):
  source = _write(tmp_path / "m", "w", "w/Adam", "w/Adam_1")
  argv = ["convert", source, str(tmp_path / "o"), "--to=tf2", "--keras=3", "--json"]
  assert main.run(argv) == 0
  answer = json.loads(capsys.readouterr().out)
  assert answer["variables"][0]["rows"][0]["variable"] == "w"
  assert answer["variables"][0]["optimizer"]["iterations"] == 7


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--allow_approximate"], "--allow_approximate is for a conversion to or from Ke"),
    (["--optimizer_setting=lr"], "--optimizer_setting=lr: that is no NAME=VALUE"),
    (["--optimizer=adam"], "Say which Keras is meant: --keras='2-legacy', '2' or '3'."),
    (["--keras=3", "--layout=flat"], "--layout is not for Keras"),
    (["--keras=3", "--keep=w"], "--keep and --forget_bias need --like"),
  ],
)
def test_flags_that_cannot_be_meant(flags, message, tmp_path, capsys):
  source = _write(tmp_path / "m", "w", "w/Adam", "w/Adam_1")
  assert main.run(["convert", source, str(tmp_path / "o"), "--to=tf2", *flags]) == 2
  assert message in capsys.readouterr().err
  assert not os.path.exists(tmp_path / "o.index")


def test_embeddings_are_spoken_of(tmp_path):
  names = ["emb/embeddings", "emb/embeddings/Adam", "emb/embeddings/Adam_1"]
  report = _convert(_write(tmp_path / "m", *names), tmp_path / "out")
  assert "sum_sparse_gradients" in str(report)
  names = ["emb/embeddings", "emb/embeddings/Momentum"]
  source = _write(tmp_path / "n", *names)
  options = {"settings": {"learning_rate": 0.1, "momentum": 0.9}}
  with pytest.raises(errors.UnsupportedCheckpointError, match="does not look up"):
    _convert(source, tmp_path / "out2", keras_options=options)
  _convert(source, tmp_path / "out2", keras="2-legacy", keras_options=options)
  options["allow_approximate"] = True
  report = _convert(source, tmp_path / "out3", keras_options=options)
  assert report.variables[0].optimizer.exactness == "approximate"


@pytest.mark.parametrize("source_format", ["tf2", "dual"])
def test_every_format_is_converted_alike(source_format, tmp_path):
  name = _OPTIMIZERS + "adam"
  other = str(tmp_path / "other")
  eckpt.convert(golden.path(name), other, source_format)
  options = {"trainable": _trainable(name)}
  made = []
  for source in (golden.path(name), other):
    target = tmp_path / f"made{len(made)}"
    _convert(source, target, keras_options=options)
    with eckpt.open_checkpoint(target) as reader:
      made.append({k: v for k, v in reader.items() if k.startswith(("model", "opt"))})
  assert set(made[0]) == set(made[1]) and len(made[0]) > 10
  for key, value in made[0].items():
    np.testing.assert_array_equal(made[1][key], value, err_msg=key)


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path):
  source = _write(tmp_path / "m", "net/w", "net/w/Adam", "net/w/Adam_1")
  options = {"trainable": ["net/w"], "ignore": ["nt/.*"]}
  with pytest.raises(errors.OptionError, match="ignore='nt/.*' matches nothing"):
    _convert(source, tmp_path / "out", keras_options=options)
  _convert(source, tmp_path / "keras", keras_options={"trainable": ["net/w"]})
  with pytest.raises(errors.OptionError, match="ignore='other/' matches nothing"):
    _convert(
      tmp_path / "keras",
      tmp_path / "out",
      to="tf1",
      keras_options={"ignore": ["other/"]},
    )
  assert not list(tmp_path.glob("out*"))


def test_a_pattern_leaves_out_what_it_matches_there_and_back(tmp_path):
  source = _write(tmp_path / "m", "net/w", "net/unused/v", "other")
  options = {"ignore": ["net/unused/", "oth.*"]}
  _convert(source, tmp_path / "keras", keras_options=options)
  with eckpt.open_checkpoint(tmp_path / "keras") as reader:
    assert [key for key in reader if "model/" in key] == [f"model/net/w{_VALUE}"]
  _convert(source, tmp_path / "whole")
  _convert(
    tmp_path / "whole",
    tmp_path / "out",
    to="tf1",
    keras=None,
    optimizer="none",
    keras_options=options,
  )
  with eckpt.open_checkpoint(tmp_path / "out") as reader:
    assert {"net/w"} <= set(reader) <= {"net/w", "global_step"}


@pytest.mark.parametrize("like", ["tf1", "tf2", "dual"])
@pytest.mark.parametrize("kind", ["adam", "rmsprop", "rmsprop_centered", "ftrl"])
def test_the_way_back_takes_names_from_a_checkpoint_of_any_format(kind, like, tmp_path):
  name = _OPTIMIZERS + kind
  settings = {"epsilon": 1e-8, "beta_1": 0.9, "beta_2": 0.999, "momentum": 0.5}
  options = {"settings": settings, "trainable": _trainable(name)}
  _convert(golden.path(name), tmp_path / "keras", keras_options=options)
  names, back = str(tmp_path / "names"), str(tmp_path / "back")
  eckpt.convert(golden.path(name), names, like)
  eckpt.convert(
    str(tmp_path / "keras"),
    back,
    "tf1",
    like=names,
    keras_options={"settings": settings},
  )
  with eckpt.open_checkpoint(back) as reader:
    assert set(reader) == set(golden.expected(name))
    for key, value in golden.expected(name).items():
      np.testing.assert_allclose(reader[key], value, rtol=1e-6, err_msg=key)


def test_a_map_that_the_way_back_suggests_leads_from_the_models_names(tmp_path):
  cell = {"kernel": (5, 8), "recurrent_kernel": (2, 8), "bias": (8,)}
  shapes = {
    **{f"{one}/{leaf}": cell[leaf] for one in ("first", "second") for leaf in cell},
    "inner/kernel": (2, 4),
    "outer/kernel": (2, 4),
    "head/kernel": (4, 3),
    "heads/kernel": (6, 2, 5),
  }
  source = BundleBuilder()
  graph = ObjectGraph()
  values = {}
  for name, shape in shapes.items():
    values[name] = np.arange(np.prod(shape)).reshape(shape) + 1000.0 * len(values)
    key = graph.add_variable([["model", *name.split("/")]], name)
    source.numbers(key, values[name])
  source.object_graph(graph)
  names = BundleBuilder()
  for one in ("first", "second"):
    names.numbers(f"net/{one}/rnn/lstm_cell/kernel", np.zeros((7, 8)))
    names.numbers(f"net/{one}/rnn/lstm_cell/bias", np.zeros(8))
  names.numbers("net/inner_w", np.zeros((2, 4)))
  names.numbers("net/outer_w", np.zeros((2, 4)))
  names.numbers("net/projection", np.zeros((3, 4)))
  names.numbers("net/attention", np.zeros((6, 10)))
  keras, like = source.write(tmp_path / "keras"), names.write(tmp_path / "names")
  back = str(tmp_path / "back")
  with pytest.raises(errors.VariableMismatchError) as caught:
    eckpt.convert(keras, back, "tf1", like=like)
  name_map = eval(str(caught.value).partition("name_map=")[2].partition("}")[0] + "}")
  assert name_map == {
    "first/": "net/first/rnn/lstm_cell/",
    "second/": "net/second/rnn/lstm_cell/",
    "inner/kernel": "net/inner_w",
    "outer/kernel": "net/outer_w",
    "head/kernel": "net/projection transpose=1,0",
    "heads/kernel": "net/attention reshape",
  }
  options = {"forget_bias": 0.0}
  eckpt.convert(keras, back, "tf1", like=like, name_map=name_map, keras_options=options)
  with eckpt.open_checkpoint(back) as reader:
    found = {key: reader[key] for key in reader}
  expected = {
    "net/inner_w": values["inner/kernel"],
    "net/outer_w": values["outer/kernel"],
    "net/projection": values["head/kernel"].T,
    "net/attention": values["heads/kernel"].reshape(6, 10),
  }
  # Keras orders the gates i, f, c, o, and TF1 i, c, f, o.
  gates = [0, 1, 4, 5, 2, 3, 6, 7]
  for one in ("first", "second"):
    rows = [values[f"{one}/kernel"], values[f"{one}/recurrent_kernel"]]
    scope = f"net/{one}/rnn/lstm_cell"
    expected[f"{scope}/kernel"] = np.concatenate(rows)[:, gates]
    expected[f"{scope}/bias"] = values[f"{one}/bias"][gates]
  assert set(found) == set(expected)
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_slots_that_nobody_can_assign_are_not_lost_in_silence(tmp_path):
  """Simulates a checkpoint that has lost its list of trainable variables."""
  name = _OPTIMIZERS + "adam"
  options = {"trainable": _trainable(name)}
  _convert(golden.path(name), tmp_path / "keras", keras_options=options)
  graph = stored.object_graph(tmp_path / "keras")
  (optimizer,) = (n for n in graph.nodes if "_trainable_variables" in n.children)
  graph.nodes[optimizer.children["_trainable_variables"]].children.clear()
  builder = BundleBuilder()
  with eckpt.open_checkpoint(tmp_path / "keras") as reader:
    for key in {attribute.checkpoint_key for _, attribute in graph.attributes()}:
      builder.numbers(key, reader[key], reader[key].dtype.name)
  builder.object_graph(graph)
  source = builder.write(tmp_path / "unlisted")
  target = str(tmp_path / "back")
  with pytest.raises(errors.UnsupportedCheckpointError, match="_trainable_variables"):
    eckpt.convert(source, target, "tf1", keras="3")
  assert not list(tmp_path.glob("back*"))
  report = eckpt.convert(source, target, "tf1", optimizer="none")
  assert any("state of Keras 3's Adam" in str(v) for v in report.variables)

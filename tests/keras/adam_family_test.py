"""BERT's, contrib's and other relatives of Adam go on in Keras, or are refused by name.

Runs under Keras 2 and, from tests/interop, under Keras 3.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
import estimator_ckpt.keras
from estimator_ckpt import errors
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.examples.bert_tf1 import AdamWeightDecayOptimizer
from tests.bundle_builder import BundleBuilder
from tests.keras import proof

tf1 = tf.compat.v1
_optimizers = tf.keras.optimizers
_IS_KERAS_3 = hasattr(_optimizers, "Lamb")
_RATE, _DECAY, _NORM = 2e-4, 0.01, 0.1
# BERT's exclusions.
_EXCLUDED = ["LayerNorm", "layer_norm", "bias"]


def _bert(path, steps, more=0):
  """Trains with BERT's optimizer and its defaults, and saves after some steps.

  Returns:
    The prefix, and losses and weights after each of the further steps.
  """
  data = proof.batches(32)
  with tf.Graph().as_default(), tf1.Session() as session:
    rng = np.random.RandomState(4)
    x, y = tf1.placeholder(tf.float32, (8, 5)), tf1.placeholder(tf.float32, (8, 2))
    net = x
    for i, (n, m) in enumerate([(5, 6), (6, 2)]):
      kernel = _variable(f"bert/dense_{i}/kernel", rng.randn(n, m) / n**0.5)
      net = net @ kernel + _variable(f"bert/dense_{i}/bias", rng.randn(m) / 10)
      net = tf.tanh(net) if m != 2 else net
    loss = tf.reduce_mean(tf.square(net - y))
    step = tf1.train.get_or_create_global_step()
    weights = tf1.trainable_variables()
    optimizer = AdamWeightDecayOptimizer(
      _RATE, _DECAY, exclude_from_weight_decay=_EXCLUDED
    )
    grads, _ = tf.clip_by_global_norm(tf.gradients(loss, weights), _NORM)
    train = optimizer.apply_gradients(zip(grads, weights), step)
    session.run(tf1.global_variables_initializer())
    after = []
    prefix = ""
    for i in range(steps + more):
      if i == steps:
        prefix = tf1.train.Saver().save(session, str(path), write_meta_graph=False)
      inputs, targets = data[i % 32]
      found = session.run([loss, train], {x: inputs, y: targets})[0]
      if i >= steps:
        after.append((found, [v.copy() for v in session.run(weights)]))
    prefix = prefix or tf1.train.Saver().save(
      session, str(path), write_meta_graph=False
    )
  return prefix, after


def _variable(name, value):
  return tf1.get_variable(
    name, initializer=tf.constant(value, tf.float32), use_resource=True
  )


def _model():
  layers = tf.keras.layers
  return tf.keras.Sequential(
    [
      tf.keras.Input((5,)),
      layers.Dense(6, "tanh", name="dense_0"),
      layers.Dense(2, name="dense_1"),
    ]
  )


def _adamw(**options):
  optimizer = _optimizers.AdamW(
    _RATE, weight_decay=_DECAY, epsilon=1e-6, global_clipnorm=_NORM, **options
  )
  optimizer.exclude_from_weight_decay(var_names=_EXCLUDED)
  return optimizer


def test_bert_goes_on_once_its_missing_correction_is_negligible(tmp_path):
  steps = 11_000
  prefix, after = _bert(tmp_path / "m", steps, more=10)
  model, optimizer = _model(), _adamw()
  report = estimator_ckpt.keras.load(model, prefix, optimizer)
  assert report.optimizer.exactness == "same" and report.optimizer.iterations == steps
  assert "exclude_from_weight_decay()" in str(report)
  data = proof.batches(32)
  for i, (loss, weights) in enumerate(after):
    ours, found = proof.train_in_keras(
      model, optimizer, [data[(steps + i) % 32]], lambda vs: [v.numpy() for v in vs]
    )
    np.testing.assert_allclose(ours, [loss], rtol=1e-5)
    for value, expected in zip(found[0], weights):
      assert np.abs(value - expected).max() < 1e-5 * np.abs(expected).max()


def test_earlier_the_error_states_the_size_and_nothing_is_loaded(tmp_path):
  prefix, _ = _bert(tmp_path / "m", 20)
  model, optimizer = _model(), _adamw()
  before = model.get_weights()
  message = "after 20 steps, with beta_1=0.9 and beta_2=0.999, .* up to 0.86 of their"
  with pytest.raises(errors.UnsupportedCheckpointError, match=message):
    estimator_ckpt.keras.load(model, prefix, optimizer)
  for ours, old in zip(model.get_weights(), before):
    np.testing.assert_array_equal(ours, old)
  report = estimator_ckpt.keras.load(model, prefix, optimizer, allow_approximate=True)
  assert report.optimizer.exactness == "approximate"
  assert report.optimizer.iterations == 20


def test_bert_goes_there_and_back_by_files(tmp_path):
  prefix, _ = _bert(tmp_path / "m", 20)
  model, optimizer = _model(), _adamw()
  optimizer.build(model.trainable_variables)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  there, back = str(tmp_path / "there"), str(tmp_path / "back")
  options = {"keras_options": {"allow_approximate": True}}
  with pytest.raises(errors.UnsupportedCheckpointError, match="up to 0.86"):
    eckpt.convert(prefix, there, "tf2", like=like)
  # Untrained, Keras 2 does not store the name of the class.
  report = eckpt.convert(prefix, there, "tf2", like=like, optimizer="adamw", **options)
  keras = "Keras 3" if _IS_KERAS_3 else "Keras 2"
  assert f"AdamWeightDecayOptimizer -> {keras}'s AdamW: approximate" in str(report)
  checkpoint.restore(there).assert_consumed()
  eckpt.convert(there, back, "tf1", like=prefix, **options)
  with open_checkpoint(prefix) as was, open_checkpoint(back) as now:
    assert set(now) == set(was)
    assert any(name.endswith("/adam_v") for name in was)
    for name, value in was.items():
      np.testing.assert_array_equal(now[name], value, err_msg=name)


def _write(path, slots, powers=("beta1_power", "beta2_power"), scope="bert"):
  """A checkpoint of the model's variables with slots of these names, after 7 steps."""
  rng = np.random.RandomState(1)
  builder = BundleBuilder()
  shapes = {"dense_0/kernel": (5, 6), "dense_0/bias": (6,)}
  shapes.update({"dense_1/kernel": (6, 2), "dense_1/bias": (2,)})
  for name, shape in shapes.items():
    for slot in ("", *slots):
      builder.numbers(f"{scope}/{name}{slot}", rng.rand(*shape))
  for name in powers:
    builder.numbers(name, (0.9 if "1" in name else 0.999) ** 8)
  builder.numbers("global_step", 7, "int64")
  return builder.write(str(path))


def test_tf1_adam_goes_into_adamw_in_load_and_in_convert(tmp_path):
  prefix = _write(tmp_path / "m", ("/Adam", "/Adam_1"))
  model, optimizer = _model(), _optimizers.AdamW(weight_decay=0.01, epsilon=1e-8)
  report = estimator_ckpt.keras.load(model, prefix, optimizer)
  assert report.optimizer.exactness == "same"
  assert "decays weights by weight_decay=0.01, and TensorFlow 1's Adam" in str(report)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  report = eckpt.convert(prefix, tmp_path / "out", "tf2", like=like)
  checkpoint.restore(str(tmp_path / "out")).assert_consumed()
  assert report.variables[0].optimizer.exactness == "same"
  report = eckpt.convert(tmp_path / "out", tmp_path / "back", "tf1", like=prefix)
  with open_checkpoint(prefix) as was, open_checkpoint(tmp_path / "back") as now:
    assert set(now) == set(was)


def test_contribs_adamw_is_told_from_adam_there_and_back(tmp_path):
  prefix = _write(tmp_path / "m", ("/AdamW", "/AdamW_1"))
  model, optimizer = _model(), _optimizers.AdamW(weight_decay=0.01, epsilon=1e-8)
  report = estimator_ckpt.keras.load(model, prefix, optimizer)
  assert "weight_decay=weight_decay / learning_rate" in str(report)
  saved = tf.train.Checkpoint(model=model, optimizer=optimizer).write(
    str(tmp_path / "k")
  )
  eckpt.convert(saved, tmp_path / "back", "tf1", like=prefix)
  with open_checkpoint(prefix) as was, open_checkpoint(tmp_path / "back") as now:
    assert set(now) == set(was)
    for name in ("bert/dense_0/kernel/AdamW", "bert/dense_0/kernel/AdamW_1"):
      np.testing.assert_array_equal(now[name], was[name])


def test_lamb_only_approximates_and_says_in_what(tmp_path):
  prefix = _write(tmp_path / "m", ("/lamb_m", "/lamb_v"), powers=())
  if not _IS_KERAS_3:
    with pytest.raises(
      errors.UnsupportedCheckpointError, match="Keras 2 has no Lamb.*Keras 3 has it"
    ):
      eckpt.convert(
        prefix,
        tmp_path / "out",
        "tf2",
        keras="2",
        name_map=["bert/:"],
        keras_options={"trainable": ["dense_0/kernel"]},
      )
    return
  model, optimizer = _model(), _optimizers.Lamb()
  with pytest.raises(errors.UnsupportedCheckpointError) as caught:
    estimator_ckpt.keras.load(model, prefix, optimizer)
  for words in ("weight decay to the step", "scales every variable", "after 7 steps"):
    assert words in str(caught.value)
  report = estimator_ckpt.keras.load(model, prefix, optimizer, allow_approximate=True)
  assert report.optimizer.exactness == "approximate"
  with open_checkpoint(prefix) as reader:
    index = optimizer._get_variable_index(model.trainable_variables[0])
    np.testing.assert_array_equal(
      optimizer._velocities[index], reader["bert/dense_0/kernel/lamb_v"]
    )


def test_lazy_adam_is_adam_but_for_rows_that_a_step_does_not_look_up(tmp_path):
  prefix = _write(tmp_path / "m", ("/LazyAdam", "/LazyAdam_1"))
  report = estimator_ckpt.keras.load(_model(), prefix, _optimizers.Adam(epsilon=1e-8))
  assert report.optimizer.exactness == "same"
  builder = BundleBuilder()
  for slot in ("", "/LazyAdam", "/LazyAdam_1"):
    builder.numbers(f"embedding/embeddings{slot}", np.ones((9, 4)))
  builder.numbers("global_step", 7, "int64")
  prefix = builder.write(str(tmp_path / "e"))
  embedding = tf.keras.layers.Embedding(9, 4, name="embedding")
  model = tf.keras.Sequential([tf.keras.Input((3,)), embedding])
  optimizer = estimator_ckpt.keras.sum_sparse_gradients(_optimizers.Adam())
  with pytest.raises(errors.UnsupportedCheckpointError, match="does not look up"):
    estimator_ckpt.keras.load(model, prefix, optimizer)


@pytest.mark.parametrize(
  ("slots", "optimizer", "message"),
  [
    (
      ("/Nadam", "/Nadam_1"),
      "Adam",
      "that of Nadam .Keras' Nadam has a schedule.*Keras has no optimizer that continu",
    ),
    (("/Adam", "/Adam_1"), "Nadam", "no optimizer whose state Nadam.*a schedule"),
    (("/Adam", "/Adam_1"), "Ftrl", "Make keras.optimizers.Adam, which continues"),
    (("/adam_m", "/adam_v"), "Ftrl", "Make keras.optimizers.AdamW, which continues"),
    (("/AdaMax", "/AdaMax_1"), "Adam", "Make keras.optimizers.Adamax, which continues"),
  ],
)
def test_the_advice_of_errors_names_optimizers_that_exist(
  slots, optimizer, message, tmp_path
):
  prefix = _write(tmp_path / "m", slots, powers=())
  with pytest.raises(errors.UnsupportedCheckpointError, match=message):
    estimator_ckpt.keras.load(_model(), prefix, getattr(_optimizers, optimizer)())


def test_a_nadam_of_keras_is_not_taken_for_an_adam(tmp_path):
  prefix = _write(tmp_path / "m", ("/Adam", "/Adam_1"))
  model, optimizer = _model(), _optimizers.Nadam()
  optimizer.build(model.trainable_variables)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  with pytest.raises(errors.CheckpointError, match="no optimizer in it"):
    eckpt.convert(prefix, tmp_path / "out", "tf2", like=like, optimizer="adam")

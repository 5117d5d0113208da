"""A BERT as TensorFlow 1 code, with the names and formulas of the published one.

The encoder is that of BERT's `modeling.py`, the two heads those of `run_pretraining.py`,
and the optimizer that of `optimization.py`. There is no dropout, so that steps can be
compared. Another implementation need not come from here: a published checkpoint has the
same names.

TensorFlow 1.15 imports this file in Python 3.7.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, Sequence

import tensorflow as tf

from estimator_ckpt.examples.bert import Config

v1 = tf.compat.v1


def _initializer() -> Any:
  return v1.truncated_normal_initializer(stddev=0.02)


def _dense(x: Any, units: int, name: str, activation: Any = None) -> Any:
  return v1.layers.dense(
    x, units, activation, name=name, kernel_initializer=_initializer()
  )


def _gelu(x: Any) -> Any:
  return 0.5 * x * (1 + tf.tanh((2 / 3.141592653589793) ** 0.5 * (x + 0.044715 * x**3)))


def _layer_norm(x: Any) -> Any:
  with v1.variable_scope("LayerNorm"):
    size = [int(x.shape[-1])]
    beta = v1.get_variable("beta", size, initializer=v1.zeros_initializer())
    gamma = v1.get_variable("gamma", size, initializer=v1.ones_initializer())
  mean, variance = v1.nn.moments(x, [-1], keep_dims=True)
  return v1.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)


def _embeddings(features: dict[str, Any], config: Config) -> tuple[Any, Any]:
  """Embeds words, types and positions; also returns the words' table."""
  with v1.variable_scope("embeddings"):
    words, types, positions = (
      v1.get_variable(name, [rows, config.hidden_size], initializer=_initializer())
      for name, rows in (
        ("word_embeddings", config.vocab_size),
        ("token_type_embeddings", config.type_vocab_size),
        ("position_embeddings", config.max_position_embeddings),
      )
    )
    x = tf.gather(words, features["ids"])
    # So few rows are looked up by a product.
    one_hot = tf.one_hot(features["types"], config.type_vocab_size)
    x += tf.tensordot(one_hot, types, 1) + positions[: int(x.shape[1])]
    return _layer_norm(x), words


def _attention(x: Any, mask: Any, config: Config) -> Any:
  length, heads = int(x.shape[1]), config.num_attention_heads
  size = config.hidden_size // heads
  with v1.variable_scope("self"):
    query, key, value = (
      tf.transpose(
        tf.reshape(_dense(x, heads * size, name), [-1, length, heads, size]),
        [0, 2, 1, 3],
      )
      for name in ("query", "key", "value")
    )
  scores = tf.matmul(query, key, transpose_b=True) / size**0.5
  scores += (1 - tf.cast(mask, tf.float32))[:, None, None, :] * -10000.0
  mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
  with v1.variable_scope("output"):
    mixed = _dense(
      tf.reshape(mixed, [-1, length, heads * size]), config.hidden_size, "dense"
    )
    return _layer_norm(mixed + x)


def bert(features: dict[str, Any], config: Config) -> tuple[Any, Any, Any]:
  """Applies the encoder.

  Args:
    features: `ids`, `mask` and `types` of a `bert.Batch`.
    config: the sizes.

  Returns:
    The last layer's output, float32 [pairs, length, hidden_size]; the pooled output,
    float32 [pairs, hidden_size]; the table of words.
  """
  with v1.variable_scope("bert"):
    x, words = _embeddings(features, config)
    with v1.variable_scope("encoder"):
      for i in range(config.num_hidden_layers):
        with v1.variable_scope(f"layer_{i}"):
          with v1.variable_scope("attention"):
            x = _attention(x, features["mask"], config)
          with v1.variable_scope("intermediate"):
            inner = _dense(x, config.intermediate_size, "dense", _gelu)
          with v1.variable_scope("output"):
            x = _layer_norm(_dense(inner, config.hidden_size, "dense") + x)
    with v1.variable_scope("pooler"):
      pooled = _dense(x[:, 0], config.hidden_size, "dense", tf.tanh)
  return x, pooled, words


def heads(features: dict[str, Any], config: Config) -> tuple[Any, Any]:
  """Applies encoder and heads of the pre-training.

  Args:
    features: `ids`, `mask`, `types` and `positions` of a `bert.Batch`.
    config: the sizes.

  Returns:
    Logits of the hidden words, float32 [pairs, hidden, vocab_size], by the table of words
    once more; logits of whether the second sentence follows, float32 [pairs, 2].
  """
  x, pooled, words = bert(features, config)
  with v1.variable_scope("cls"):
    with v1.variable_scope("predictions"):
      x = tf.gather(x, features["positions"], axis=1, batch_dims=1)
      with v1.variable_scope("transform"):
        x = _layer_norm(_dense(x, config.hidden_size, "dense", _gelu))
      bias = v1.get_variable(
        "output_bias", [config.vocab_size], initializer=v1.zeros_initializer()
      )
      hidden = tf.tensordot(x, tf.transpose(words), 1) + bias
    with v1.variable_scope("seq_relationship"):
      weights = v1.get_variable(
        "output_weights", [2, config.hidden_size], initializer=_initializer()
      )
      bias = v1.get_variable("output_bias", [2], initializer=v1.zeros_initializer())
      return hidden, tf.matmul(pooled, weights, transpose_b=True) + bias


def loss(hidden: Any, follows: Any, features: dict[str, Any]) -> Any:
  """Sums the mean losses of both heads.

  Args:
    hidden: logits of the hidden words.
    follows: logits of whether the second sentence follows.
    features: `hidden_ids` and `is_random` of a `bert.Batch`.

  Returns:
    float32 [].
  """
  cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
  return tf.reduce_mean(
    cross_entropy(labels=features["hidden_ids"], logits=hidden)
  ) + tf.reduce_mean(cross_entropy(labels=features["is_random"], logits=follows))


class AdamWeightDecayOptimizer(tf.compat.v1.train.Optimizer):
  """Adam with decoupled weight decay, and without correction for the start at zero.

  Args:
    learning_rate: a number or a tensor.
    weight_decay_rate: the part of a weight that a step takes away, times learning rate.
    beta_1: the decay of the mean of gradients.
    beta_2: the decay of the mean of their squares.
    epsilon: is added to the root.
    exclude_from_weight_decay: regular expressions; weights whose names have one of them
      do not decay.
    name: of the optimizer; no variable has it.
  """

  _name_of_slots = "adam"

  def __init__(
    self,
    learning_rate: Any,
    weight_decay_rate: float = 0.0,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-6,
    exclude_from_weight_decay: Sequence[str] = (),
    name: str = "AdamWeightDecayOptimizer",
  ):
    super().__init__(False, name)
    self._rate = learning_rate
    self._decay = weight_decay_rate
    self._betas = beta_1, beta_2
    self._epsilon = epsilon
    self._excluded = exclude_from_weight_decay

  def apply_gradients(
    self,
    grads_and_vars: Iterable[tuple[Any, Any]],
    global_step: Any = None,
    name: str | None = None,
  ) -> Any:
    """Updates weights and slots, and then counts the step.

    Args:
      grads_and_vars: gradients and their variables.
      global_step: a variable that counts, or None.
      name: of the operation that is made.

    Returns:
      The operation.
    """
    updates: list[Any] = []
    for grad, param in grads_and_vars:
      m, v = (
        v1.get_variable(
          f"{param.op.name}/{self._name_of_slots}_{slot}",
          shape=param.shape.as_list(),
          trainable=False,
          initializer=v1.zeros_initializer(),
        )
        for slot in "mv"
      )
      next_m = self._betas[0] * m + (1.0 - self._betas[0]) * grad
      next_v = self._betas[1] * v + (1.0 - self._betas[1]) * tf.square(grad)
      update = next_m / (tf.sqrt(next_v) + self._epsilon)
      excluded = any(re.search(text, param.op.name) for text in self._excluded)
      if self._decay and not excluded:
        update += self._decay * param
      update *= self._rate * self._ratio(param, update, excluded)
      updates += [param.assign(param - update), m.assign(next_m), v.assign(next_v)]
    if global_step is None:
      return tf.group(*updates, name=name)
    # BERT counts outside. The learning rate of this step has to be read before.
    with tf.control_dependencies(updates):
      return v1.assign_add(global_step, 1, name=name).op

  def _ratio(self, param: Any, update: Any, excluded: bool) -> Any:
    """A further factor of the step; LAMB has one."""
    del param, update, excluded
    return 1.0


def train_op(
  loss: Any, rate: float, steps: int, clip_norm: float = 1.0, beta_2: float = 0.999
) -> Any:
  """Makes the step of training as BERT's `create_optimizer` does.

  Args:
    loss: what is minimized.
    rate: the learning rate at the beginning.
    steps: after how many steps it has gone down to 0, in a straight line.
    clip_norm: the largest norm of all gradients together.
    beta_2: as of the optimizer.

  Returns:
    The operation.
  """
  step = v1.train.get_or_create_global_step()
  optimizer = AdamWeightDecayOptimizer(
    v1.train.polynomial_decay(rate, step, steps, 0.0, 1.0),
    weight_decay_rate=0.01,
    beta_2=beta_2,
    exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"],
  )
  weights = v1.trainable_variables()
  grads, _ = tf.clip_by_global_norm(tf.gradients(loss, weights), clip_norm)
  return optimizer.apply_gradients(zip(grads, weights), step)

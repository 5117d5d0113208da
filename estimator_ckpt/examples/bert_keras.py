"""A BERT in Keras, with MultiHeadAttention, and the way into it from TF1's checkpoints.

The layers have names of their own. `name_map` leads to them from the names that every
published BERT has, and that `bert_tf1` has too.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

import estimator_ckpt.keras
from estimator_ckpt.examples.bert import Config

layers = tf.keras.layers


def _norm(name: str) -> Any:
  return layers.LayerNormalization(epsilon=1e-12, name=name)


def _gelu(x: Any) -> Any:
  return tf.nn.gelu(x, approximate=True)


class Block(tf.keras.layers.Layer):
  """One layer of the encoder.

  Args:
    config: the sizes.
    name: the layer's.
  """

  def __init__(self, config: Config, name: str):
    super().__init__(name=name)
    heads = config.num_attention_heads
    self.attention = layers.MultiHeadAttention(
      heads, config.hidden_size // heads, name="attention"
    )
    self.attention_norm = _norm("attention_norm")
    self.inner = layers.Dense(config.intermediate_size, _gelu, name="inner")
    self.outer = layers.Dense(config.hidden_size, name="outer")
    self.norm = _norm("norm")

  def call(self, x: Any, mask: Any) -> Any:
    """Applies the layer.

    Args:
      x: float32 [pairs, length, hidden_size].
      mask: which words others may look at, bool [pairs, 1, length].

    Returns:
      float32 [pairs, length, hidden_size].
    """
    x = self.attention_norm(x + self.attention(x, x, attention_mask=mask))
    return self.norm(x + self.outer(self.inner(x)))


class Encoder(tf.keras.layers.Layer):
  """BERT without heads.

  Args:
    config: the sizes.
    name: the layer's.
  """

  def __init__(self, config: Config, name: str = "encoder"):
    super().__init__(name=name)
    size = config.hidden_size
    self.words = layers.Embedding(config.vocab_size, size, name="words")
    # A product, as in BERT. The look-up of a table has gradients row by row, and their
    # norm, by which they are clipped, is another than that of their sum.
    self.types = layers.Dense(size, use_bias=False, name="types")
    self._type_count = config.type_vocab_size
    self.positions = layers.Embedding(
      config.max_position_embeddings, size, name="positions"
    )
    self.norm = _norm("norm")
    self.blocks = [Block(config, f"block_{i}") for i in range(config.num_hidden_layers)]
    self.pooler = layers.Dense(size, "tanh", name="pooler")

  def call(self, ids: Any, mask: Any, types: Any) -> tuple[Any, Any]:
    """Applies the encoder.

    Args:
      ids: numbers of words, int32 [pairs, length].
      mask: 1 for a word, and 0 behind the text's end, int32 [pairs, length].
      types: 0 for the first sentence and 1 for the second, int32 [pairs, length].

    Returns:
      The last block's output, float32 [pairs, length, hidden_size], and the pooled
      output, float32 [pairs, hidden_size].
    """
    one_hot = tf.one_hot(types, self._type_count)
    x = self.words(ids) + self.types(one_hot) + self.positions(tf.range(ids.shape[1]))
    x = self.norm(x)
    for block in self.blocks:
      x = block(x, tf.cast(mask, tf.bool)[:, None, :])
    return x, self.pooler(x[:, 0])


class Bert(tf.keras.Model):
  """BERT with the heads of its pre-training.

  Args:
    config: the sizes.
  """

  def __init__(self, config: Config):
    super().__init__(name="bert")
    self.encoder = Encoder(config)
    self.transform = layers.Dense(config.hidden_size, _gelu, name="transform")
    self.transform_norm = _norm("transform_norm")
    self.hidden = HiddenWords(config.vocab_size, name="hidden")
    self.follows = layers.Dense(2, name="follows")

  def call(self, batch: Any) -> tuple[Any, Any]:
    """Applies the model.

    Args:
      batch: a `bert.Batch`, or a tuple of its first 4 arrays.

    Returns:
      Logits of the hidden words, float32 [pairs, hidden, vocab_size], and logits of
      whether the second sentence follows, float32 [pairs, 2].
    """
    ids, mask, types, positions = batch[:4]
    x, pooled = self.encoder(ids, mask, types)
    x = tf.gather(x, positions, axis=1, batch_dims=1)
    x = self.transform_norm(self.transform(x))
    return self.hidden(x, self.encoder.words.embeddings), self.follows(pooled)


class HiddenWords(tf.keras.layers.Layer):
  """The logits of words, by the table that embeds them: output weights are tied.

  Args:
    vocab_size: how many words there are.
    name: the layer's.
  """

  def __init__(self, vocab_size: int, name: str):
    super().__init__(name=name)
    self._vocab_size = vocab_size

  def build(self, *shapes: Any) -> None:
    """Makes the bias.

    Args:
      *shapes: those of the inputs.
    """
    del shapes
    self.bias = self.add_weight(
      name="bias", shape=(self._vocab_size,), initializer="zeros"
    )
    self.built = True

  def call(self, x: Any, table: Any) -> Any:
    """Applies the layer.

    Args:
      x: float32 [pairs, hidden, hidden_size].
      table: float32 [vocab_size, hidden_size].

    Returns:
      float32 [pairs, hidden, vocab_size].
    """
    return tf.matmul(x, tf.transpose(table)) + self.bias


def loss(hidden: Any, follows: Any, batch: Any) -> Any:
  """Sums the mean losses of both heads.

  Args:
    hidden: logits of the hidden words.
    follows: logits of whether the second sentence follows.
    batch: the `bert.Batch`.

  Returns:
    float32 [].
  """
  cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
  return tf.reduce_mean(
    cross_entropy(labels=batch.hidden_ids, logits=hidden)
  ) + tf.reduce_mean(cross_entropy(labels=batch.is_random, logits=follows))


def adamw(
  model: Any, rate: float, steps: int, clip_norm: float = 1.0, beta_2: float = 0.999
) -> Any:
  """Makes the AdamW that goes on where BERT's optimizer stopped.

  Args:
    model: a model that is built.
    rate: the learning rate at the beginning.
    steps: after how many steps it has gone down to 0, in a straight line.
    clip_norm: the largest norm of all gradients together.
    beta_2: the decay of the mean of squared gradients.

  Returns:
    The optimizer, with BERT's decay, exclusions and epsilon.
  """
  keras = tf.keras.optimizers
  schedule = keras.schedules.PolynomialDecay(rate, steps, 0.0)
  optimizer = keras.AdamW(
    schedule,
    weight_decay=0.01,
    beta_2=beta_2,
    epsilon=1e-6,
    global_clipnorm=clip_norm,
  )
  # Names would not do: Keras 3 searches in `gamma`, not in `encoder/norm/gamma`.
  weights = model.trainable_variables
  names = [weight.name.rpartition("/")[2].partition(":")[0] for weight in weights]
  optimizer.exclude_from_weight_decay(
    [w for w, name in zip(weights, names) if name in ("bias", "beta", "gamma")]
  )
  # A batch has some words several times. TF1 adds up their gradients first.
  return estimator_ckpt.keras.sum_sparse_gradients(optimizer)


def name_map(config: Config) -> dict[str, str]:
  """The rules from the names of a published BERT to those of `Bert`.

  Args:
    config: the sizes.

  Returns:
    Names and scopes of the checkpoint, each with that of the model.
  """
  encoder = {
    "word_embeddings": "words/embeddings",
    "token_type_embeddings": "types/kernel",
    "position_embeddings": "positions/embeddings",
    "LayerNorm/": "norm/",
  }
  # The first rule that fits counts, also the other way round.
  block = {
    "attention/output/dense/": "attention/attention_output/",
    "attention/self/": "attention/",
    "attention/output/LayerNorm/": "attention_norm/",
    "intermediate/dense/": "inner/",
    "output/dense/": "outer/",
    "output/LayerNorm/": "norm/",
  }
  rules = {
    "bert/pooler/dense/": "encoder/pooler/",
    "cls/predictions/transform/dense/": "transform/",
    "cls/predictions/transform/LayerNorm/": "transform_norm/",
    "cls/predictions/output_bias": "hidden/bias",
    # TF1 multiplies by these transposed.
    "cls/seq_relationship/output_weights": "follows/kernel transpose=1,0",
    "cls/seq_relationship/output_bias": "follows/bias",
  }
  for old, new in encoder.items():
    rules[f"bert/embeddings/{old}"] = f"encoder/{new}"
  for i in range(config.num_hidden_layers):
    for old, new in block.items():
      rules[f"bert/encoder/layer_{i}/{old}"] = f"encoder/block_{i}/{new}"
  return rules

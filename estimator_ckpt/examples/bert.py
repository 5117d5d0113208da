"""The sizes of a BERT, and batches of made-up sentences that are equal for every leg.

TensorFlow 1.15 imports this file in Python 3.7.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np


class Config(NamedTuple):
  """The sizes of a BERT, by the names in its `bert_config.json`; by default a tiny one."""

  vocab_size: int = 40
  hidden_size: int = 16
  num_hidden_layers: int = 2
  num_attention_heads: int = 4
  intermediate_size: int = 24
  max_position_embeddings: int = 12
  type_vocab_size: int = 2

  @classmethod
  def read(cls, path: str) -> Config:
    """Reads a `bert_config.json`.

    Args:
      path: the file, as the published checkpoints have it beside them.

    Returns:
      The sizes; what the file has besides is left out.
    """
    with open(path, encoding="utf-8") as file:
      found = json.load(file)
    return cls(**{name: found[name] for name in cls._fields})


TINY = Config()


class Batch(NamedTuple):
  """Pairs of sentences, of which some words are hidden.

  Attributes:
    ids: the words' numbers, int32 [pairs, length].
    mask: 1 for a word and 0 behind the text's end, int32 [pairs, length].
    types: 0 for the first sentence and 1 for the second, int32 [pairs, length].
    positions: where words are hidden, int32 [pairs, hidden].
    hidden_ids: the numbers of the hidden words, int32 [pairs, hidden].
    is_random: 1 where the second sentence does not follow the first, int32 [pairs].
  """

  ids: np.ndarray
  mask: np.ndarray
  types: np.ndarray
  positions: np.ndarray
  hidden_ids: np.ndarray
  is_random: np.ndarray


def batch(step: int, config: Config = TINY) -> Batch:
  """Makes up the batch of a step of training, equal in every process.

  Args:
    step: how many steps were made before.
    config: the sizes.

  Returns:
    4 pairs of sentences of 10 words at most, 3 of them hidden.
  """
  rng = np.random.RandomState(step)
  pairs, length, hidden = 4, 10, 3
  ends = rng.randint(7, length + 1, [pairs, 1])
  at = np.arange(length)
  ids = np.where(at < ends, rng.randint(1, config.vocab_size, [pairs, length]), 0)
  positions = np.array([rng.permutation(7)[:hidden] for _ in range(pairs)])
  hidden_ids = np.take_along_axis(ids, positions, 1)
  np.put_along_axis(ids, positions, 1, 1)
  arrays = (
    ids,
    at < ends,
    at >= 4,
    positions,
    hidden_ids,
    rng.randint(0, 2, [pairs]),
  )
  return Batch(*(array.astype(np.int32) for array in arrays))

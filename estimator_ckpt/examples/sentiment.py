"""Tweets rated for sentiment, as batches of word numbers that are equal for every leg."""

from __future__ import annotations

import collections
import gzip
import os
import re
from typing import NamedTuple

import numpy as np

_DATA = os.path.join("testdata", "text", "tweets.tsv.gz")
_WORD = re.compile(r"[a-z']+|[!?]|[:;=]-?[()DP]")
# Ratings between are neither positive nor negative.
_DECIDED = 0.5

VOCABULARY = 2000
LENGTH = 32
EMBEDDING = 32
UNITS = 32
HIDDEN = 16
LEARNING_RATE = 0.003


class Texts(NamedTuple):
  """Texts as numbers.

  Attributes:
    words: int32 [n, LENGTH]: 0 behind the text's end, 1 for a word not in the
      vocabulary, else the word's number.
    labels: float32 [n]: 1.0 for a positive text, 0.0 for a negative one.
  """

  words: np.ndarray
  labels: np.ndarray


def root() -> str:
  """The repository's directory, or Bazel's copy of what a program needs of it."""
  return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load() -> tuple[Texts, Texts]:
  """The texts that are positive or negative: for training, and every fifth for testing.

  Returns:
    Two sets of texts; words are numbered by how often the training texts have them.
  """
  with gzip.open(os.path.join(root(), _DATA), "rt", encoding="utf-8") as file:
    rows = [line.rstrip("\n").split("\t") for line in file]
  parts: tuple[list, list] = ([], [])
  for number, (rating, text) in enumerate(rows):
    if abs(float(rating)) >= _DECIDED:
      words = _WORD.findall(text.lower())[:LENGTH]
      parts[number % 5 == 0].append((words, float(rating) > 0))
  count = collections.Counter(word for words, _ in parts[0] for word in words)
  common = sorted(count, key=lambda word: (-count[word], word))[: VOCABULARY - 2]
  numbers = {word: number for number, word in enumerate(common, 2)}
  return _texts(parts[0], numbers), _texts(parts[1], numbers)


def _texts(rows: list[tuple[list[str], bool]], numbers: dict[str, int]) -> Texts:
  words = np.zeros((len(rows), LENGTH), np.int32)
  for row, (text, _) in zip(words, rows):
    row[: len(text)] = [numbers.get(word, 1) for word in text]
  return Texts(words, np.array([positive for _, positive in rows], np.float32))


def batches(texts: Texts, first: int, count: int, batch_size: int) -> Texts:
  """The batches of some steps of training, equal in every process.

  Args:
    texts: those for training.
    first: how many steps were made before.
    count: how many steps.
    batch_size: texts in a batch.

  Returns:
    Words [count, batch_size, LENGTH] and labels [count, batch_size]; each epoch has
    another order.
  """
  size = len(texts.labels) // batch_size
  rows = []
  for step in range(first, first + count):
    epoch, place = divmod(step, size)
    order = np.random.RandomState(epoch).permutation(len(texts.labels))
    rows.append(order[place * batch_size : (place + 1) * batch_size])
  picked = np.array(rows)
  return Texts(texts.words[picked], texts.labels[picked])

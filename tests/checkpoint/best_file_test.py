"""best.json: the ranking, which checkpoints are kept, and files of other content."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import best_file
from estimator_ckpt.checkpoint.best_file import BestCheckpoint, BestCheckpoints


def _checkpoint(number, loss):
  metrics = {"loss": None if loss is None or math.isnan(loss) else loss, "other": 1.0}
  return BestCheckpoint(f"model.ckpt-{number}", number, metrics)


_LOSSES = st.lists(st.none() | st.floats(-9, 9) | st.sampled_from([0.0, 1.0]))


@given(_LOSSES, st.sampled_from(best_file.MODES), st.integers(1, 4))
def test_the_best_are_those_of_a_sort(losses, mode, keep):
  best = BestCheckpoints("loss", mode, keep)
  for number, loss in enumerate(losses):
    best = best.with_checkpoint(_checkpoint(number, loss))
  sign = 1 if mode == "min" else -1
  ranked = sorted((sign * x, n) for n, x in enumerate(losses) if x is not None)
  assert best.names == tuple(f"model.ckpt-{n}" for _, n in ranked[:keep])


def test_another_metric_ranks_what_is_there_anew():
  best = BestCheckpoints(
    "accuracy",
    "max",
    2,
    (
      BestCheckpoint("a", 1, {"loss": 0.1, "accuracy": 0.5}),
      BestCheckpoint("b", 2, {"loss": 0.2}),
    ),
  )
  new = BestCheckpoint("c", 3, {"loss": 0.9, "accuracy": 0.4})
  assert best.with_checkpoint(new).names == ("a", "c")


def test_one_that_is_evaluated_again_counts_once():
  best = BestCheckpoints("loss", "min", 2, (_checkpoint(1, 0.1), _checkpoint(2, 0.2)))
  best = best.with_checkpoint(_checkpoint(1, 0.3))
  assert [(c.name, best.value(c)) for c in best.checkpoints] == [
    ("model.ckpt-2", 0.2),
    ("model.ckpt-1", 0.3),
  ]


def test_what_is_written_is_read(tmp_path):
  assert best_file.read_best(str(tmp_path)) is None
  best = BestCheckpoints(
    "loss", "min", 3, (_checkpoint(7, 0.25), _checkpoint(9, None)), ("model.ckpt-8",)
  )
  best_file.write_best(str(tmp_path), best)
  assert best_file.read_best(str(tmp_path) + "/") == best
  assert json.loads((tmp_path / "best.json").read_text()) == {
    "metric": "loss",
    "mode": "min",
    "keep": 3,
    "checkpoints": [
      {"checkpoint": "model.ckpt-7", "step": 7, "metrics": {"loss": 0.25, "other": 1}},
      {"checkpoint": "model.ckpt-9", "step": 9, "metrics": {"loss": None, "other": 1}},
    ],
    "unfinished": ["model.ckpt-8"],
  }


def test_metrics_are_the_scalar_numbers():
  result = {
    "loss": np.float32(0.5),
    "global_step": np.int64(7),
    "nan": float("nan"),
    "inf": np.inf,
    "text": b"serialized",
    "name": "1.5",
    "vector": np.ones(3),
    "one": np.array([2.0]),
    "none": None,
  }
  assert best_file.metrics_of(result) == {
    "loss": 0.5,
    "global_step": 7.0,
    "nan": None,
    "inf": None,
    "one": 2.0,
  }


@pytest.mark.parametrize(
  "text",
  [
    "",
    "[]",
    "{}",
    "no json",
    '{"metric": "a", "mode": "least", "keep": 1, "checkpoints": []}',
    '{"metric": "a", "mode": "min", "keep": "x", "checkpoints": []}',
    '{"metric": "a", "mode": "min", "keep": 1, "checkpoints": [1]}',
    '{"metric": "a", "mode": "min", "keep": 1, "checkpoints": [], "unfinished": ["../m"]}',
    (
      '{"metric": "a", "mode": "min", "keep": 1, "checkpoints":'
      ' [{"checkpoint": "/m", "step": 1, "metrics": {}}]}'
    ),
  ],
)
def test_something_else_is_an_error_that_names_the_file(tmp_path, text):
  (tmp_path / "best.json").write_text(text)
  with pytest.raises(errors.CorruptCheckpointError, match="best.json.*remove it"):
    best_file.read_best(str(tmp_path))

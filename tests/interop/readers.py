"""Asks the TensorFlow of another environment about a checkpoint.

    answers = readers.ask(interpreter("tf115"), "tf1_15_reader.py", directory, {
      "as a whole": {"kind": "load_checkpoint", "path": prefix},
    })
    answers["as a whole"].values["net/kernel"]

All questions to one environment go into one call, because importing TensorFlow takes
longer than answering them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

HERE = pathlib.Path(os.path.abspath(__file__)).parent
_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a reader found.

  Attributes:
    question: what was asked.
    error: the traceback of the failed question, or None.
  """

  question: Mapping[str, Any]
  error: str | None
  found_values: Mapping[str, np.ndarray]
  found_facts: Mapping[str, Any]

  @property
  def values(self) -> Mapping[str, np.ndarray]:
    """Arrays by key; the test fails if the reader failed."""
    assert self.error is None, f"asked for {dict(self.question)}\n{self.error}"
    return self.found_values

  @property
  def facts(self) -> Mapping[str, Any]:
    """Other results; the test fails if the reader failed."""
    assert self.error is None, f"asked for {dict(self.question)}\n{self.error}"
    return self.found_facts

  def part(self, beginning: str) -> dict[str, np.ndarray]:
    """The values whose keys have a prefix, by keys without the prefix."""
    return {
      key[len(beginning) :]: value
      for key, value in self.values.items()
      if key.startswith(beginning)
    }


def environ(**changes: str) -> dict[str, str]:
  """The environment variables of another Python's process."""
  # A TensorFlow 2 that this process has imported sets the last for every other one.
  unwanted = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "TF2_BEHAVIOR")
  kept = {k: v for k, v in os.environ.items() if k not in unwanted}
  return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **changes}


def ask(
  python: str,
  script: str,
  directory: pathlib.Path,
  questions: Mapping[str, Mapping[str, Any]],
) -> dict[str, Answer]:
  """Runs a script of this directory in another environment.

  Args:
    python: that environment's interpreter.
    script: the script's file name.
    directory: a new or empty folder for questions and answers.
    questions: by name; `kind` is the script's function that answers, all other items
      are its arguments.

  Returns:
    The answers by name.
  """
  directory.mkdir(exist_ok=True)
  (directory / "questions.json").write_text(json.dumps(questions))
  done = subprocess.run(
    [python, str(HERE / script), str(directory)],
    env=environ(),
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    timeout=_SECONDS,
    check=False,
  )
  output = done.stdout.decode(errors="replace")
  assert done.returncode == 0, (
    f"{script} ended with {done.returncode}:\n{output[-9000:]}"
  )
  described = json.loads((directory / "answers.json").read_text())
  data = (directory / "answers.data").read_bytes()
  return {
    name: Answer(
      question,
      described[name].get("error"),
      {
        key: _decode(data, *description)
        for key, description in described[name].get("values", {}).items()
      },
      described[name].get("facts", {}),
    )
    for name, question in questions.items()
  }


def _decode(data: bytes, dtype: str, shape: list[int], *where: Any) -> np.ndarray:
  if dtype == "string":
    [strings] = where
    flat = np.empty(len(strings), object)
    flat[:] = [bytes.fromhex(text) for text in strings]
    return flat.reshape(shape)
  offset, size = where
  numpy_dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
  count = size // numpy_dtype.itemsize
  return np.frombuffer(data, numpy_dtype, count, offset).reshape(shape)


def plain(value: np.ndarray) -> np.ndarray:
  """The value in the form of testdata: bfloat16 widened, strings of a fixed width."""
  value = np.asarray(value)
  if value.dtype == ml_dtypes.bfloat16:
    return value.astype(np.float32)
  return value.astype("S") if value.dtype == object else value


def assert_equal(
  found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> None:
  """Fails unless both have the same keys, dtypes, shapes and values."""
  assert sorted(found) == sorted(expected)
  for key, value in expected.items():
    value = np.asarray(value)
    assert found[key].dtype == value.dtype, key
    assert found[key].shape == value.shape, key
    np.testing.assert_array_equal(found[key], value, err_msg=key)

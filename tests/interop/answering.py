"""Answers questions about checkpoints with the TensorFlow of another environment.

`readers.ask` writes `questions.json` into a directory: name -> {"kind": ..., and the
arguments}. A script calls `main`, which leaves two files beside it:

  answers.json  name -> {"values": {key: [dtype, shape, offset, size]}, "facts": {...}},
                or {"error": traceback}; for strings, a list instead of offset and size
  answers.data  the bytes of all arrays

Python 3.7, where TensorFlow 1.15 runs, has to read this file too.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

import numpy as np


class Answers:
  """The answers that a script has found so far."""

  def __init__(self):
    self.data = bytearray()
    self.described = {}

  def add(self, name, values, facts):
    """Adds an answer: arrays by key, and facts that JSON can hold."""
    described = {key: self._describe(np.asarray(a)) for key, a in values.items()}
    self.described[name] = {"values": described, "facts": facts}

  def _describe(self, array):
    if array.dtype.names:  # NumPy's form of a quantized dtype
      array = array[array.dtype.names[0]]
    if array.dtype.kind in "OSU":
      # Written as hexadecimal digits: NumPy's fixed-width strings lose zeros at their
      # end.
      flat = [s if isinstance(s, bytes) else str(s).encode() for s in array.ravel()]
      return ["string", list(array.shape), [s.hex() for s in flat]]
    offset = len(self.data)
    self.data += np.ascontiguousarray(array).tobytes()
    return [array.dtype.name, list(array.shape), offset, len(self.data) - offset]

  def write(self, directory):
    """Writes both files."""
    with open(os.path.join(directory, "answers.data"), "wb") as f:
      f.write(self.data)
    with open(os.path.join(directory, "answers.json"), "w") as f:
      json.dump(self.described, f)


def main(kinds):
  """Runs the script.

  Args:
    kinds: the function for each kind of question; it takes the question's arguments and
      returns arrays by key, and facts.
  """
  directory = sys.argv[1]
  with open(os.path.join(directory, "questions.json")) as f:
    questions = json.load(f)
  answers = Answers()
  for name, question in questions.items():
    arguments = dict(question)
    try:
      values, facts = kinds[arguments.pop("kind")](**arguments)
      answers.add(name, values, facts)
    except BaseException:  # must not keep other questions unanswered
      answers.described[name] = {"error": traceback.format_exc()}
  answers.write(directory)

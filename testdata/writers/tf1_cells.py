"""Golden checkpoint of TF1's recurrent cells, with what they gave for one input."""

from __future__ import annotations

import tensorflow as tf
from golden_writer import waves
from tensorflow.python.util import nest
from tf1_session import save, session_config

UNITS = 3
STEPS = 7


def _cells():
  """Scope -> (function that makes the cell, what a reader must know of it)."""
  rnn = tf.nn.rnn_cell
  contrib = tf.contrib
  return {
    "basic_rnn": (lambda: rnn.BasicRNNCell(UNITS), {}),
    "basic_lstm": (lambda: rnn.BasicLSTMCell(UNITS), {"forget_bias": 1.0}),
    "basic_lstm_no_forget_bias": (
      lambda: rnn.BasicLSTMCell(UNITS, forget_bias=0.0),
      {"forget_bias": 0.0},
    ),
    "lstm": (lambda: rnn.LSTMCell(UNITS), {"forget_bias": 1.0}),
    "lstm_peepholes": (
      lambda: rnn.LSTMCell(UNITS, use_peepholes=True),
      {"forget_bias": 1.0, "use_peepholes": True},
    ),
    "lstm_projection": (
      lambda: rnn.LSTMCell(UNITS, num_proj=2),
      {"forget_bias": 1.0, "num_proj": 2},
    ),
    "gru": (lambda: rnn.GRUCell(UNITS), {}),
    "stacked_lstm": (
      lambda: rnn.MultiRNNCell([rnn.LSTMCell(UNITS), rnn.LSTMCell(UNITS)]),
      {"forget_bias": 1.0, "layers": 2},
    ),
    "lstm_block": (
      lambda: contrib.rnn.LSTMBlockCell(UNITS),
      {"forget_bias": 1.0},
    ),
    "gru_block": (lambda: contrib.rnn.GRUBlockCellV2(UNITS), {}),
    "cudnn_compatible_lstm": (
      lambda: contrib.cudnn_rnn.CudnnCompatibleLSTMCell(UNITS),
      {"forget_bias": 0.0},
    ),
    "cudnn_compatible_gru": (
      lambda: contrib.cudnn_rnn.CudnnCompatibleGRUCell(UNITS),
      {"reset_after": True},
    ),
  }


def rnn_cells(directory):
  """LSTM and GRU cells of all kinds through dynamic_rnn; input, output, states."""
  inputs = waves((2, 4, 5))
  details, fetches = {}, {}
  with tf.Graph().as_default():
    x = tf.constant(inputs)
    for scope, (make, facts) in sorted(_cells().items()):
      with tf.variable_scope(scope):
        output, state = tf.nn.dynamic_rnn(make(), x, dtype=tf.float32)
      fetches[scope + "/output"] = output
      for path, part in nest.flatten_with_joined_string_paths(state):
        fetches[f"{scope}/state/{path}" if path else scope + "/state"] = part
      details[scope] = dict(facts, units=UNITS, cell=type(make()).__name__)
    with tf.variable_scope("bidirectional"):
      outputs, _ = tf.nn.bidirectional_dynamic_rnn(
        tf.nn.rnn_cell.LSTMCell(UNITS),
        tf.nn.rnn_cell.LSTMCell(UNITS),
        x,
        dtype=tf.float32,
      )
      details["bidirectional"] = {
        "forget_bias": 1.0,
        "units": UNITS,
        "cell": "LSTMCell",
      }
    fetches["bidirectional/output_fw"], fetches["bidirectional/output_bw"] = outputs
    step = tf.train.get_or_create_global_step()
    variables = [v for v in tf.global_variables() if v is not step]
    fill = [
      v.assign(0.8 * waves(v.shape.as_list(), step=0.7 + 0.05 * i))
      for i, v in enumerate(sorted(variables, key=lambda v: v.op.name))
    ]
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      session.run([fill, tf.assign(step, STEPS)])
      data = session.run(fetches)
      data["x"] = inputs
      return save(session, directory, STEPS, data=data, details=details)


GOLDENS = {"rnn_cells": rnn_cells}

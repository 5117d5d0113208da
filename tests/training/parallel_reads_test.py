"""A restore reads with several ops if there is much to read, and assigns all or nothing."""

from __future__ import annotations

import glob
import shutil

import numpy as np
import pytest
import tensorflow as tf

from estimator_ckpt import errors
from tests import sessions

v1 = tf.compat.v1
_FORMATS = ("tf1", "tf2", "dual")
_COUNT = 40
_SIZE = 1 << 18


def _variables(use_resource=True, starts=None):
  """Variables of 1 MB: zeros, or numbers that begin with those of `starts`."""
  starts = [None] * _COUNT if starts is None else starts
  with v1.variable_scope("net", use_resource=use_resource):
    return [
      v1.get_variable(
        f"layer_{i}",
        initializer=tf.zeros([_SIZE])
        if start is None
        else tf.range(start, start + _SIZE, dtype=tf.float32),
      )
      for i, start in enumerate(starts)
    ]


def _reads(graph):
  return [op for op in graph.get_operations() if op.type == "RestoreV2"]


def _assert_restored(values):
  numbers = np.arange(_SIZE, dtype=np.float32)
  for i, value in enumerate(values):
    np.testing.assert_array_equal(value, numbers + 10 * i)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """Prefixes, by format, of checkpoints of many variables, each with its MetaGraph."""
  directory = tmp_path_factory.mktemp("written")
  with tf.Graph().as_default(), v1.Session() as session:
    _variables(starts=range(0, 10 * _COUNT, 10))
    session.run(v1.global_variables_initializer())
    return {
      checkpoint_format: _saver(checkpoint_format).save(
        session, str(directory / checkpoint_format)
      )
      for checkpoint_format in _FORMATS
    }


def _saver(checkpoint_format, **options):
  saver = sessions.scaffold_of(checkpoint_format, **options).saver
  saver.build()
  return saver


@pytest.mark.parametrize("use_resource", [True, False])
def test_several_ops_read_each_variable_once(written, use_resource):
  with tf.Graph().as_default() as graph, v1.Session() as session:
    variables = _variables(use_resource)
    savers = [_saver(checkpoint_format) for checkpoint_format in _FORMATS]
    reads = _reads(graph)
    assert 2 * len(savers) <= len(reads) <= 8 * len(savers)
    assert sum(len(op.outputs) for op in reads) == _COUNT * len(savers)
    for saver in savers:
      for prefix in written.values():
        session.run([variable.initializer for variable in variables])
        saver.restore(session, prefix)
        _assert_restored(session.run(variables))


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_nothing_is_assigned_if_one_op_fails(written, checkpoint_format, tmp_path):
  for name in glob.glob(written[checkpoint_format] + ".*"):
    shutil.copy(name, tmp_path)
  [data_file] = tmp_path.glob("*.data-*")
  data = bytearray(data_file.read_bytes())
  data[-_SIZE] ^= 1
  data_file.write_bytes(data)
  with tf.Graph().as_default(), v1.Session() as session:
    variables = _variables()
    saver = _saver(checkpoint_format)
    session.run([variable.initializer for variable in variables])
    for _ in range(3):
      with pytest.raises(errors.CorruptCheckpointError, match="nothing was restored"):
        saver.restore(session, str(tmp_path / checkpoint_format))
      assert not any(map(np.any, session.run(variables)))


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_stock_tensorflow_restores_by_the_meta_graph(written, checkpoint_format):
  prefix = written[checkpoint_format]
  with tf.Graph().as_default() as graph, v1.Session() as session:
    v1.train.import_meta_graph(prefix + ".meta").restore(session, prefix)
    names = [f"net/layer_{i}:0" for i in range(_COUNT)]
    variables = {v.name: v for v in v1.global_variables()}
    assert len(_reads(graph)) > 1
    _assert_restored(session.run([variables[name] for name in names]))


@pytest.mark.parametrize("options, ops", [({}, 1), ({"strict": False}, 20)])
def test_little_is_read_by_one_op(options, ops):
  with tf.Graph().as_default() as graph:
    for i in range(20):
      v1.get_variable(f"layer_{i}", [7])
    _saver("dual", **options)
    assert len(_reads(graph)) == ops


def test_restore_sequentially_reads_all_by_one_op():
  with tf.Graph().as_default() as graph:
    _variables()
    _saver("dual", restore_sequentially=True)
    assert len(_reads(graph)) == 1


def test_each_device_has_its_own_ops():
  """A large variable and a few small ones are read at the same time."""
  with tf.Graph().as_default() as graph:
    for device in ("/cpu:0", "/job:ps/task:1/cpu:0"):
      with tf.device(device):
        prefix = device.count("ps")
        v1.get_variable(f"large_{prefix}", [3 << 22])
        for i in range(9):
          v1.get_variable(f"small_{prefix}_{i}", [1 << 19])
    _saver("tf1")
    by_device = {}
    for op in _reads(graph):
      by_device.setdefault(op.device, []).append(len(op.outputs))
    assert [sum(counts) for counts in by_device.values()] == [10, 10]
    assert all(len(counts) > 1 for counts in by_device.values())

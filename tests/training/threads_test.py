"""Two threads save with one saver, like Supervisor's timer and its user."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.checkpoint.verify import verify

v1 = tf.compat.v1
_SAVES = 20


@pytest.mark.parametrize(
  "make, options",
  [
    (eckpt.tf1_scaffold, {}),
    (eckpt.tf2_scaffold, {}),
    (eckpt.dual_scaffold, {}),
    (eckpt.dual_scaffold, {"sharded": False}),
    (eckpt.dual_scaffold, {"separate": True}),
    (eckpt.dual_scaffold, {"asynchronous": True}),
  ],
)
def test_both_save_the_same_steps(make, options, tmp_path):
  failed = []
  with tf.Graph().as_default(), v1.Session() as session:
    step = v1.train.create_global_step()
    made = [v1.get_variable(f"v{i}", [50, 20]) for i in range(10)]
    count = v1.assign_add(step, 1)
    scaffold = make(max_to_keep=2, **options)
    scaffold.finalize()
    session.run(scaffold.init_op)
    expected = session.run({v.op.name: v for v in made})
    together = threading.Barrier(2, timeout=60)

    def save():
      try:
        for number in range(_SAVES):
          # Both threads read the step before either saves it.
          if together.wait() == 0:
            session.run(count)
          together.wait()
          with session.graph.as_default():
            scaffold.saver.save(session, str(tmp_path / "model.ckpt"), number + 1)
      except Exception as error:
        failed.append(error)
        together.abort()

    threads = [threading.Thread(target=save) for _ in range(2)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    scaffold.saver.wait_until_finished()
  assert not failed
  latest = tf.train.latest_checkpoint(str(tmp_path))
  assert latest.endswith(f"model.ckpt-{_SAVES}")
  assert verify(str(tmp_path)).findings == ()
  with eckpt.open_checkpoint(latest) as reader:
    for name, value in expected.items():
      np.testing.assert_array_equal(reader[reader.names[name]], value)
    assert reader[reader.names["global_step"]] == _SAVES

"""Saves and restores the ops that a function builds, in separate sessions."""

from __future__ import annotations

import tensorflow as tf

import estimator_ckpt as eckpt

v1 = tf.compat.v1


def scaffold_of(checkpoint_format, **options):
  return getattr(eckpt, f"{checkpoint_format}_scaffold")(**options)


def save(checkpoint_format, directory, build, **options):
  """Runs what `build` returns, then saves what it made."""
  with tf.Graph().as_default(), v1.Session() as session:
    v1.train.get_or_create_global_step()
    op = build()
    scaffold = scaffold_of(checkpoint_format, **options)
    scaffold.finalize()
    session.run([scaffold.init_op, scaffold.local_init_op])
    session.run(op)
    return scaffold.saver.save(session, str(directory / "model.ckpt"), global_step=1)


def restore(checkpoint_format, prefix, build, **options):
  """Restores the graph that `build` makes; returns the values of what it returns."""
  with tf.Graph().as_default(), v1.Session() as session:
    v1.train.get_or_create_global_step()
    read = build()
    scaffold = scaffold_of(checkpoint_format, **options)
    scaffold.finalize()
    session.run([scaffold.init_op, scaffold.local_init_op])
    scaffold.saver.restore(session, prefix)
    return session.run(read)

"""Gives a checkpoint that TensorFlow has just written the names that TF1 code restores."""

from __future__ import annotations

from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.new_tensors import add_tensors
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.keras.tf1_plan import Tf1Plan


def add_names(reader: CheckpointReader, plan: Tf1Plan) -> None:
  """Adds names to a checkpoint. Its object keys and its bytes stay as they are.

  Where all names stand for bytes that are there, only the index is rewritten. Other
  tensors go into one more data file. The data files then get names with the new number
  of files: links where the file system has them.

  Args:
    reader: the checkpoint, which nobody else may have opened yet. Its index is changed.
    plan: was made for this checkpoint.

  Raises:
    CheckpointIOError: the file system refused. The checkpoint is as it was.
    OptionError: a name is the key of another tensor.
  """
  prefix, index = reader.prefix, reader.index
  index.alias_all(plan.keys)
  for name, shape in plan.shapes.items():
    index.put(name, index.entry(name)._replace(shape=shape))
  if not plan.tensors:
    # TensorFlow does not sync the data, and syncing the index would wait for the data.
    index.write(prefix, sync=False)
    return
  shards = Shards.of(prefix, index)
  count = shards.num_shards + 1
  with BundleWriter(prefix, count, overwrite=True, sync=False) as bundle:
    for shard_id in range(shards.num_shards):
      bundle.add_file(shards.path(shard_id))
    add_tensors(index, bundle, plan.tensors)
    bundle.commit(index)

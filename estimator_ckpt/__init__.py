"""TF2 and dual checkpoints for TensorFlow Estimator and MonitoredSession.

    import estimator_ckpt as eckpt

    @eckpt.dual_checkpointing
    def model_fn(features, labels, mode):
      ...

What reads and edits checkpoint files needs no TensorFlow. What builds graphs does,
and loads it on first use.
"""

from __future__ import annotations

import importlib

from estimator_ckpt.bundle import remote

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

  from estimator_ckpt.checkpoint.formats import CheckpointFormat as CheckpointFormat
  from estimator_ckpt.checkpoint.formats import detect_format as detect_format
  from estimator_ckpt.checkpoint.reader import CheckpointReader as CheckpointReader
  from estimator_ckpt.checkpoint.reader import open_checkpoint as open_checkpoint
  from estimator_ckpt.checkpoint.verify import verify as verify
  from estimator_ckpt.errors import CheckpointError as CheckpointError
  from estimator_ckpt.files.convert import convert as convert
  from estimator_ckpt.files.diff import diff as diff
  from estimator_ckpt.files.inspection import inspect as inspect
  from estimator_ckpt.files.merge import merge as merge
  from estimator_ckpt.files.rename import rename as rename
  from estimator_ckpt.files.strip import strip as strip
  from estimator_ckpt.training.best_checkpoints import (
    BestCheckpointExporter as BestCheckpointExporter,
  )
  from estimator_ckpt.training.decorators import checkpointing as checkpointing
  from estimator_ckpt.training.decorators import (
    dual_checkpointing as dual_checkpointing,
  )
  from estimator_ckpt.training.decorators import tf2_checkpointing as tf2_checkpointing
  from estimator_ckpt.training.decorators import (
    with_checkpointing as with_checkpointing,
  )
  from estimator_ckpt.training.preemption import stopped_by_signal as stopped_by_signal
  from estimator_ckpt.training.scaffolds import dual_scaffold as dual_scaffold
  from estimator_ckpt.training.scaffolds import tf1_scaffold as tf1_scaffold
  from estimator_ckpt.training.scaffolds import tf2_scaffold as tf2_scaffold
  from estimator_ckpt.training.standalone_saver import dual_saver as dual_saver
  from estimator_ckpt.training.standalone_saver import tf1_saver as tf1_saver
  from estimator_ckpt.training.standalone_saver import tf2_saver as tf2_saver
  from estimator_ckpt.training.warm_start.settings import (
    warm_start_settings as warm_start_settings,
  )
  from estimator_ckpt.warm_start import WarmStart as WarmStart

__version__ = "0.1.0"

# Where each public name is defined; a module is imported when a name of it is used.
_MODULES = {
  "BestCheckpointExporter": "training.best_checkpoints",
  "CheckpointError": "errors",
  "CheckpointFormat": "checkpoint.formats",
  "CheckpointReader": "checkpoint.reader",
  "WarmStart": "warm_start",
  "checkpointing": "training.decorators",
  "convert": "files.convert",
  "detect_format": "checkpoint.formats",
  "diff": "files.diff",
  "dual_checkpointing": "training.decorators",
  "dual_saver": "training.standalone_saver",
  "dual_scaffold": "training.scaffolds",
  "inspect": "files.inspection",
  "merge": "files.merge",
  "open_checkpoint": "checkpoint.reader",
  "rename": "files.rename",
  "stopped_by_signal": "training.preemption",
  "strip": "files.strip",
  "tf1_saver": "training.standalone_saver",
  "tf1_scaffold": "training.scaffolds",
  "tf2_checkpointing": "training.decorators",
  "tf2_saver": "training.standalone_saver",
  "tf2_scaffold": "training.scaffolds",
  "verify": "checkpoint.verify",
  "warm_start_settings": "training.warm_start.settings",
  "with_checkpointing": "training.decorators",
}

__all__ = [
  "BestCheckpointExporter",
  "CheckpointError",
  "CheckpointFormat",
  "CheckpointReader",
  "WarmStart",
  "checkpointing",
  "convert",
  "detect_format",
  "diff",
  "dual_checkpointing",
  "dual_saver",
  "dual_scaffold",
  "inspect",
  "merge",
  "open_checkpoint",
  "rename",
  "stopped_by_signal",
  "strip",
  "tf1_saver",
  "tf1_scaffold",
  "tf2_checkpointing",
  "tf2_saver",
  "tf2_scaffold",
  "verify",
  "warm_start_settings",
  "with_checkpointing",
]


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})


def _tensorflow_files() -> remote.TensorFlowFiles:
  from estimator_ckpt.training import tensorflow_files

  return tensorflow_files.gfile_files()


# The files half imports no TensorFlow. It gets TensorFlow's file systems from here.
remote.offer_tensorflow_files(_tensorflow_files)

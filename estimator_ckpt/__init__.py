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
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from estimator_ckpt.convert import convert as convert
  from estimator_ckpt.decorators import checkpointing as checkpointing
  from estimator_ckpt.decorators import dual_checkpointing as dual_checkpointing
  from estimator_ckpt.decorators import tf2_checkpointing as tf2_checkpointing
  from estimator_ckpt.decorators import with_checkpointing as with_checkpointing
  from estimator_ckpt.diff import diff as diff
  from estimator_ckpt.errors import CheckpointError as CheckpointError
  from estimator_ckpt.formats import CheckpointFormat as CheckpointFormat
  from estimator_ckpt.formats import detect_format as detect_format
  from estimator_ckpt.merge import merge as merge
  from estimator_ckpt.reader import CheckpointReader as CheckpointReader
  from estimator_ckpt.reader import open_checkpoint as open_checkpoint
  from estimator_ckpt.rename import rename as rename
  from estimator_ckpt.scaffolds import dual_scaffold as dual_scaffold
  from estimator_ckpt.scaffolds import tf1_scaffold as tf1_scaffold
  from estimator_ckpt.scaffolds import tf2_scaffold as tf2_scaffold
  from estimator_ckpt.strip import strip as strip
  from estimator_ckpt.verify import verify as verify
  from estimator_ckpt.warm_start import WarmStart as WarmStart
  from estimator_ckpt.warm_start.settings import (
    warm_start_settings as warm_start_settings,
  )

__version__ = "0.1.0"

# Where each public name is defined; a module is imported when a name of it is used.
_MODULES = {
  "CheckpointError": "errors",
  "CheckpointFormat": "formats",
  "CheckpointReader": "reader",
  "WarmStart": "warm_start",
  "checkpointing": "decorators",
  "convert": "convert",
  "detect_format": "formats",
  "diff": "diff",
  "dual_checkpointing": "decorators",
  "dual_scaffold": "scaffolds",
  "merge": "merge",
  "open_checkpoint": "reader",
  "rename": "rename",
  "strip": "strip",
  "tf1_scaffold": "scaffolds",
  "tf2_checkpointing": "decorators",
  "tf2_scaffold": "scaffolds",
  "verify": "verify",
  "warm_start_settings": "warm_start.settings",
  "with_checkpointing": "decorators",
}

__all__ = [
  "CheckpointError",
  "CheckpointFormat",
  "CheckpointReader",
  "WarmStart",
  "checkpointing",
  "convert",
  "detect_format",
  "diff",
  "dual_checkpointing",
  "dual_scaffold",
  "merge",
  "open_checkpoint",
  "rename",
  "strip",
  "tf1_scaffold",
  "tf2_checkpointing",
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


class _Facade(types.ModuleType):
  """Keeps `estimator_ckpt.verify` the function when the module of that name is imported.

  The import system binds a submodule to its package under its own name.
  """

  def __setattr__(self, name: str, value: Any) -> None:
    if name not in _MODULES or not isinstance(value, types.ModuleType):
      super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Facade

"""The one place where private TensorFlow API is used.

Each function or class says why the public API does not do. All were checked on
TensorFlow 2.12.1 and 2.15.1. What decorators, saving and restoring need was run on 1.15.5,
2.4.4, 2.8.4 and 2.11.0 too, by the tests that `tests/interop/suites.py` names. A module
names the versions on which it saw a difference; docs/versions.md has all of them.
"""

from __future__ import annotations

# Before all others, which import TensorFlow: it says what is missing where there is none.
from estimator_ckpt.training.tensorflow_private.installed import tf

# isort: split
from estimator_ckpt.training.tensorflow_private.estimators import (
  Training,
  calling_estimator,
  estimator_with_model_fn,
  is_warm_started,
  saver_hook_settings,
  set_warm_start_settings,
  training_that_warm_starts,
  trains_its_model_fn,
  variables_to_warm_start,
  warm_start_settings_of,
)
from estimator_ckpt.training.tensorflow_private.initializers import (
  call_when_initialized,
  replace_initializer,
  start_in_init_op,
  user_init_fn,
)
from estimator_ckpt.training.tensorflow_private.saveable_objects import (
  SaveableObject,
  SaveSpec,
  all_saveable_objects,
  assign,
  distributed_variable,
  is_save_only,
  part_spec,
  saveables_by_name,
  saved_name,
  slice_key,
)
from estimator_ckpt.training.tensorflow_private.savers import (
  BulkSaverBuilder,
  SaverBase,
  cpu_of,
  restore_v2,
  save_v2,
  saver_settings,
)
from estimator_ckpt.training.tensorflow_private.sessions import (
  FeedingSession,
  SaveCall,
  cached_summary_writer,
  hooks_of_session,
  save_call,
  save_with,
  saves_with,
)
from estimator_ckpt.training.tensorflow_private.stopping import (
  SessionInCreation,
  call_when_closed,
  frame_of_training,
  hurry,
  is_open,
  session_in_creation,
  tasks_in_step,
  token_queue,
  wrap_evaluations,
)
from estimator_ckpt.training.tensorflow_private.trackables import (
  CHECKPOINTS,
  PythonState,
  checkpoint_of,
  frozen_objects,
  serialize_objects,
)

__all__ = [
  "CHECKPOINTS",
  "BulkSaverBuilder",
  "FeedingSession",
  "PythonState",
  "SaveCall",
  "SaveSpec",
  "SaveableObject",
  "SaverBase",
  "SessionInCreation",
  "Training",
  "all_saveable_objects",
  "assign",
  "cached_summary_writer",
  "call_when_closed",
  "call_when_initialized",
  "calling_estimator",
  "checkpoint_of",
  "cpu_of",
  "distributed_variable",
  "estimator_with_model_fn",
  "frame_of_training",
  "frozen_objects",
  "hooks_of_session",
  "is_open",
  "is_save_only",
  "is_warm_started",
  "part_spec",
  "replace_initializer",
  "restore_v2",
  "save_call",
  "save_v2",
  "save_with",
  "saveables_by_name",
  "saved_name",
  "saver_hook_settings",
  "saver_settings",
  "saves_with",
  "serialize_objects",
  "session_in_creation",
  "set_warm_start_settings",
  "slice_key",
  "start_in_init_op",
  "tasks_in_step",
  "tf",
  "training_that_warm_starts",
  "trains_its_model_fn",
  "user_init_fn",
  "variables_to_warm_start",
  "warm_start_settings_of",
  "wrap_evaluations",
  "hurry",
  "token_queue",
]

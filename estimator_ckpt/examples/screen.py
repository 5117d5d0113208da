"""Hides log lines of TensorFlow that have nothing to do with an example.

This module is imported before TensorFlow, which reads the level of its C++ log once.
TensorFlow's advice to give up Estimator takes some hundred lines for one training.
"""

from __future__ import annotations

import logging
import os
import warnings
from typing import Callable

from absl import logging as absl_logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_DEPRECATED = "is deprecated"


def hide_deprecations() -> None:
  """Hides TensorFlow's deprecation warnings."""
  _show(lambda record: _DEPRECATED not in record.getMessage())


def hide_all_but_losses() -> None:
  """Hides TensorFlow's log, but for the loss of every 100 steps, warnings and errors."""
  _show(_is_loss_or_warning)
  # On each restore the library logs TensorFlow's own message.
  absl_logging.get_absl_handler().addFilter(
    lambda record: not record.getMessage().startswith("Restoring parameters")
  )


def _is_loss_or_warning(record: logging.LogRecord) -> bool:
  message = record.getMessage()
  if record.levelno >= logging.WARNING:
    return _DEPRECATED not in message
  return message.startswith("loss = ")


def _show(is_shown: Callable[[logging.LogRecord], bool]) -> None:
  warnings.filterwarnings("ignore", f".*{_DEPRECATED}", UserWarning)
  logger = logging.getLogger("tensorflow")
  logger.setLevel(logging.INFO)
  logger.addFilter(is_shown)
  # TensorFlow has a handler of its own; absl's would print everything once more.
  logger.propagate = False

"""What an example lets onto the screen, beside what it prints itself.

Imported before TensorFlow, which reads the level of its C++ log once. TensorFlow's
advice to give up Estimator, some hundred lines for one training, is not shown.
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
  """Hides what TensorFlow says, but the loss of every 100 steps, warnings and errors."""
  _show(_is_loss_or_warning)
  # What the library says of each restore is TensorFlow's own message.
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

"""Warm start: begin a new model with what an older or pretrained checkpoint has.

Files in, a plan out: `request` has what is asked for, `source` what a checkpoint offers,
`planner` decides, `plan` is the result, and `report` shows it. On TensorFlow's side,
`ops`, `saver` and `settings` carry a plan out.
"""

from __future__ import annotations

from estimator_ckpt.warm_start.request import WarmStart as WarmStart

__all__ = ["WarmStart"]

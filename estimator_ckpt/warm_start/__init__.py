"""Warm start: begin a new model with what an older or pretrained checkpoint has.

Files in, a plan out: `request` has what is asked for, and `source_tensors` what a
checkpoint offers. `planner` decides, `warm_start_plan` is the result, and
`warm_start_report` shows it. On TensorFlow's side, `training/warm_start` carries a plan
out.
"""

from __future__ import annotations

from estimator_ckpt.warm_start.request import WarmStart as WarmStart

__all__ = ["WarmStart"]

"""Verifying checkpoints: everything that TensorFlow takes on trust."""

from __future__ import annotations

from estimator_ckpt.checkpoint.verify.checkpoint import verify as verify
from estimator_ckpt.checkpoint.verify.findings import Finding as Finding
from estimator_ckpt.checkpoint.verify.findings import Severity as Severity
from estimator_ckpt.checkpoint.verify.findings import VerifyReport as VerifyReport

__all__ = ["Finding", "VerifyReport", "Severity", "verify"]

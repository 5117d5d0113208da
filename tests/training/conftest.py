"""Fixtures that the tests of training share."""

from __future__ import annotations

from tests.trained import every_checkpoint_converts_there_and_back

__all__ = ["every_checkpoint_converts_there_and_back"]

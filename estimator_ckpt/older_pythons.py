"""What Python 3.7 lacks of the standard library, from packages that bring it."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 8):
  from functools import cached_property
  from typing import Protocol
else:
  from backports.cached_property import cached_property
  from typing_extensions import Protocol

__all__ = ["Protocol", "cached_property"]

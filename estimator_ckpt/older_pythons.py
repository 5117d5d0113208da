"""What Python 3.7 lacks of the standard library, from packages that bring it."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 8):
  from functools import cached_property
else:
  from backports.cached_property import cached_property

__all__ = ["cached_property"]

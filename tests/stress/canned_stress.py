"""Every canned Estimator, of both versions, through every format.

./bazelw run //tests/stress:canned_stress              all of them, some seven minutes
./bazelw run //tests/stress:canned_stress -- --only=DNN
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import time

from tests import canned


def main() -> None:
  """Checks each Estimator and prints its time; exits with 1 at the first failure."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--only", default="", help="those whose names contain this")
  args = parser.parse_args()
  cases = [case for case in canned.CASES if args.only in case[0]]
  if not cases:
    sys.exit(f"no canned Estimator's name contains {args.only!r}")
  for name, version in cases:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="canned_") as model_dir:
      canned.check(name, version, pathlib.Path(model_dir))
    print(f"{name} {version}: as it was, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
  main()

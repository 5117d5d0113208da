"""Writes testdata/digits/digits.npz from the copy that scikit-learn ships.

  python testdata/digits/make_digits.py                      # says what it would do
  python testdata/digits/make_digits.py --write [--overwrite]

Needs scikit-learn (any version: the data has not changed since 2010).
"""

from __future__ import annotations

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "writers"))

import golden_writer  # noqa: E402
import numpy as np  # noqa: E402


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--write", action="store_true", help="really write")
  parser.add_argument("--overwrite", action="store_true", help="replace the file")
  arguments = parser.parse_args()
  target = os.path.join(HERE, "digits.npz")
  if os.path.exists(target) and not arguments.overwrite:
    print("kept digits.npz: exists (--overwrite replaces it)")
    return
  if not arguments.write:
    print("would write digits.npz: images (1797, 8, 8) and labels (1797,), uint8")
    return
  import sklearn.datasets

  digits = sklearn.datasets.load_digits()
  images = digits.images.astype(np.uint8)
  labels = digits.target.astype(np.uint8)
  if not (images == digits.images).all() or images.shape != (1797, 8, 8):
    sys.exit("these are not the 1797 digits of 8 x 8 whole numbers 0..16")
  golden_writer.save_npz(target, {"images": images, "labels": labels})
  print(f"wrote digits.npz: {os.path.getsize(target)} bytes")


if __name__ == "__main__":
  main()

"""Writes testdata/text/tweets.tsv.gz from the source archive of vaderSentiment.

  python testdata/text/make_tweets.py vaderSentiment-3.3.2.tar.gz
  python testdata/text/make_tweets.py vaderSentiment-3.3.2.tar.gz --write [--overwrite]

Without --write it says what it would do. The archive is the package's source
distribution, fetched for instance by
`pip download --no-deps --no-binary :all: vaderSentiment==3.3.2`.
"""

from __future__ import annotations

import argparse
import gzip
import html
import io
import os
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
INNER_ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
TEXTS = "hutto_ICWSM_2014/tweets_GroundTruth.txt"

# Numbers, in the source, of texts with a telephone number or a slur.
LEFT_OUT = {1055, 1614, 1997, 2614, 2718, 3221, 3224, 3751, 3777, 4042}
ROWS = 4200 - len(LEFT_OUT)


def rows_of(archive):
  """The (rating, text) rows of the sdist at `archive`, in its order."""
  with tarfile.open(archive) as outer:
    (inner,) = (m for m in outer.getmembers() if m.name.endswith(INNER_ARCHIVE))
    with tarfile.open(fileobj=outer.extractfile(inner)) as tar:
      lines = tar.extractfile(TEXTS).read().decode("utf-8").splitlines()
  for line in lines:
    number, rating, text = line.split("\t", 2)
    if int(number) not in LEFT_OUT:
      yield float(rating), " ".join(html.unescape(text).split())


def compressed(rows):
  """The bytes of the .tsv.gz, the same on every run."""
  buffer = io.BytesIO()
  with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as f:
    for rating, text in rows:
      f.write(f"{rating:.4g}\t{text}\n".encode())
  return buffer.getvalue()


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("archive", help="vaderSentiment's source distribution")
  parser.add_argument("--write", action="store_true", help="really write")
  parser.add_argument("--overwrite", action="store_true", help="replace the file")
  arguments = parser.parse_args()
  target = os.path.join(HERE, "tweets.tsv.gz")
  if os.path.exists(target) and not arguments.overwrite:
    print("kept tweets.tsv.gz: exists (--overwrite replaces it)")
    return
  rows = list(rows_of(arguments.archive))
  if len(rows) != ROWS:
    sys.exit(f"{arguments.archive} gives {len(rows)} texts, not {ROWS}")
  data = compressed(rows)
  if not arguments.write:
    print(f"would write tweets.tsv.gz: {len(rows)} rows, {len(data)} bytes")
    return
  with open(target, "wb") as f:
    f.write(data)
  print(f"wrote tweets.tsv.gz: {len(rows)} rows, {len(data)} bytes")


if __name__ == "__main__":
  main()

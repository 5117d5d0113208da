"""Kills the chief of a cluster while it saves, a hundred times at random moments.

  ./bazelw run //tests/stress:cluster_stress
  ./bazelw run //tests/stress:cluster_stress -- --kills=300 --format=tf2 --seed=7
  ./bazelw run //tests/stress:cluster_stress -- --asynchronous

After each kill, the checkpoint that the state file names has to be whole and no older
than before, and the next chief has to start from it with equal values. Prints a line
for each kill, and at the end the number of kills in each part of a save.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import random
import tempfile

from tests.cluster import clusters, failing, processes

_PARTS = 10


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kills", type=int, default=100)
  parser.add_argument("--format", default="dual", choices=["tf1", "tf2", "dual"])
  parser.add_argument("--asynchronous", action="store_true")
  parser.add_argument("--seed", type=int, help="a random one by default")
  args = parser.parse_args()
  seed = random.randrange(10**6) if args.seed is None else args.seed
  print(f"--seed={seed}")
  parts: collections.Counter[int] = collections.Counter()
  with tempfile.TemporaryDirectory(prefix="cluster_stress_") as directory:
    root = pathlib.Path(directory)
    with processes.Launcher(root) as launcher:
      cluster = clusters.Cluster(launcher, num_ps=2, num_workers=0)
      killer = failing.ChiefKiller(
        cluster, root / "model", args.format, root, seed, args.asynchronous
      )
      for number in range(1, args.kills + 1):
        kill = killer.kill_once()
        parts[int(_PARTS * kill.moment / kill.of)] += 1
        print(
          f"{number:4}: save {kill.save}, {1000 * kill.moment:5.1f} of "
          f"{1000 * kill.of:5.1f} ms; began at {kill.begun}, left {kill.left}",
          flush=True,
        )
      killer.finish()
      cluster.stop()
  way = "asynchronous" if args.asynchronous else "synchronous"
  print(f"\n{args.kills} kills of the chief, {args.format}, {way}: nothing was lost\n")
  print("part of the save  kills")
  for part in range(_PARTS):
    print(f"{10 * part:7}% to {10 * (part + 1):3}% {parts.pop(part, 0):6}")
  print(f"{'afterwards':16} {sum(parts.values()):6}")


if __name__ == "__main__":
  main()

"""Training whose model_dir is in `gs://`, by TensorFlow's own file system."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import subprocess
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import files
from estimator_ckpt.training import model_dir_checks

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SCAFFOLDS = {
  "stock": lambda **options: tf.compat.v1.train.Scaffold(
    saver=tf.compat.v1.train.Saver(sharded=True, **options)
  ),
  "tf2": eckpt.tf2_scaffold,
  "dual": eckpt.dual_scaffold,
}


class Store:
  """The server that plays Google Cloud Storage, in a process of its own."""

  def __init__(self, url: str):
    self._url = url
    self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

  def _control(self, action: str, **arguments: int | str) -> dict:
    body = json.dumps(arguments).encode()
    with self._opener.open(f"{self._url}/control/{action}", body) as answer:
      return json.load(answer)

  def requests(self) -> list[tuple]:
    """What was asked since the last call: method, path, bytes read and written."""
    return [tuple(each) for each in self._control("requests")["requests"]]

  def fail(self, fault: int | str, number: int) -> None:
    """Lets one request go wrong, counted from 0 from now on; see `GcsServer.faults`."""
    self.requests()
    self._control("refuse", **{str(number): fault})

  def fail_no_more(self) -> None:
    self._control("refuse")


@pytest.fixture(scope="module")
def store(interpreter):
  server = subprocess.Popen(
    [interpreter("stores"), "-m", "tests.stores.gcs_server"],
    cwd=_ROOT,
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  try:
    started = json.loads(server.stdout.readline())
    with pytest.MonkeyPatch.context() as environment:
      for name, value in {
        # TensorFlow has Google's addresses built in: the server is the way to them.
        "https_proxy": started["url"],
        "no_proxy": "",
        "CURL_CA_BUNDLE": started["certificate"],
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
        # What it has asked a moment ago, it would not ask again, or would: as time is.
        "GCS_STAT_CACHE_MAX_AGE": "0",
        "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "1000",
        "GCS_RETRY_CONFIG_MAX_DELAY_TIME_US": "1000",
        # As `gcs_server.PATIENCE_SECONDS`, which this environment cannot import.
        "GCS_METADATA_REQUEST_TIMEOUT_SECS": "1",
        "GCS_READ_REQUEST_TIMEOUT_SECS": "1",
        "GCS_WRITE_REQUEST_TIMEOUT_SECS": "1",
      }.items():
        environment.setenv(name, value)
      yield Store(started["url"])
  finally:
    server.communicate()


class Job:
  """Saves of one graph, by the saver of a Scaffold."""

  def __init__(self, kind: str, directory: str, **options):
    self.directory = directory
    with tf.Graph().as_default():
      names = [f"net/layer_{i}/kernel" for i in range(5)]
      for name in names:
        tf.compat.v1.get_variable(name, [20], initializer=tf.zeros_initializer())
      step = tf.compat.v1.train.get_or_create_global_step()
      variables = tf.compat.v1.global_variables()
      self._add = [
        tf.compat.v1.assign_add(each, tf.ones_like(each)) for each in variables
      ]
      scaffold = _SCAFFOLDS[kind](**options)
      scaffold.finalize()
      self.saver, self._step = scaffold.saver, step
      self.session = tf.compat.v1.Session()
      self.session.run(scaffold.init_op)

  def save(self) -> str:
    """Adds 1 to each variable, and saves."""
    with self.session.graph.as_default():
      self.session.run(self._add)
      return self.saver.save(self.session, f"{self.directory}/model.ckpt", self._step)


def _kinds(requests):
  return dict(collections.Counter(method for method, *_ in requests))


def _values(directory):
  """Of the latest checkpoint, by name: the value of each variable."""
  reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(directory))
  names = [f"net/layer_{i}/kernel" for i in range(5)]
  return {int(value) for name in names for value in reader.get_tensor(name)} | {
    int(reader.get_tensor("global_step"))
  }


def _counted(store, kind, directory):
  """The requests of a save that deletes nothing, and of one that deletes the oldest.

  TensorFlow asks for a directory again as time goes by, so the least of three counts.
  """
  job = Job(kind, f"gs://bucket/{directory}", max_to_keep=5)
  counted = []
  for _ in range(8):
    store.requests()
    job.save()
    counted.append(store.requests())
  # The first that finds a state file looks for leftovers, too.
  return min(counted[2:5], key=len), min(counted[5:], key=len)


def test_a_save_asks_for_less_than_stock(store):
  stock, stock_deletes = _counted(store, "stock", "counted_stock")
  for kind in ("tf2", "dual"):
    save, deletes = _counted(store, kind, f"counted_{kind}")
    assert len(save) < len(stock), (_kinds(save), _kinds(stock))
    assert len(deletes) < len(stock_deletes), (
      _kinds(deletes),
      _kinds(stock_deletes),
    )


def test_the_index_is_read_and_sent_once_more_and_the_data_file_is_sent_once(store):
  save, _ = _counted(store, "dual", "counted_dual_again")
  (prefix,) = {
    path[: -len(".index")]
    for method, path, *_ in save
    if method == "GET" and path.endswith(".index")
  }
  # TensorFlow's own have other names until they are whole.
  index = [r[0] for r in save if r[1] == f"{prefix}.index"]
  assert index == ["GET", "START", "GET"]  # The last one is for what the save cost.
  sent = [r[1] for r in save if r[0] == "START" and r[1].startswith(f"{prefix}.data")]
  assert len(sent) == 1


def test_a_job_that_resumes_asks_each_thing_once(store):
  directory = "gs://bucket/asked_once"
  job = Job("dual", directory)
  for _ in range(3):
    job.save()
  again = Job("dual", directory)
  store.requests()
  model_dir_checks.check_latest(directory)
  state = ("GET", "bucket/asked_once/checkpoint")
  assert [r[:2] for r in store.requests() if r[0] == "GET"] == [state]
  # The first save looks for leftovers, and whether it replaces what readers follow.
  with again.session.graph.as_default():
    again.saver.restore(again.session, tf.train.latest_checkpoint(directory))
    store.requests()
    again.saver.save(again.session, f"{directory}/model.ckpt", again._step)
  asked = [request[:2] for request in store.requests()]
  assert asked.count(state) == 1
  # The listing says that the index is there, and that there is no directory tf2.
  index = "bucket/asked_once/model.ckpt-3.index"
  assert ("HEAD", index) not in asked
  assert not [path for _, path in asked if "/tf2" in path]
  assert _values(directory) == {3}


def test_a_job_resumes_and_values_are_equal(store):
  directory = "gs://bucket/resumed"
  job = Job("dual", directory)
  for _ in range(3):
    job.save()
  again = Job("dual", directory)
  again.saver.restore(again.session, tf.train.latest_checkpoint(directory))
  again.save()
  assert _values(directory) == {4}
  assert eckpt.verify(directory).findings == ()


# TensorFlow asks again after all but a 403: it takes longer.
@pytest.mark.parametrize("fault, every", [(403, 1), (500, 6), ("cut", 5), ("slow", 9)])
def test_a_request_that_fails_is_one_error_and_loses_nothing(store, fault, every):
  directory = f"gs://bucket/failed_{fault}"
  job = Job("dual", directory, max_to_keep=2)
  saved = 0
  for _ in range(3):
    job.save()
    saved += 1
  store.requests()
  job.save()
  count = len(store.requests())
  assert count > 25
  saved += 1
  failures = 0
  for number in range(0, count, every):
    store.fail(fault, number)
    try:
      job.save()
    except (tf.errors.OpError, OSError):
      failures += 1
    except RuntimeError as error:
      # This is how TensorFlow reports a refused upload of a MetaGraph.
      assert str(fault) in str(error)
      failures += 1
    finally:
      store.fail_no_more()
    saved += 1
    # The save before, or this one, where only its clean-up was refused.
    assert _values(directory) in ({saved}, *({n} for n in range(4, saved))), number
  assert failures > count // 2 if fault == 403 else failures == 0
  # A new job removes what is left, and goes on.
  again = Job("dual", directory, max_to_keep=2)
  again.saver.restore(again.session, tf.train.latest_checkpoint(directory))
  (last,) = _values(directory)
  again.save()
  assert _values(directory) == {last + 1}
  # What is whole stays, also where the state file that would name it was refused, or the
  # deletion that it announced.
  codes = {each.code for each in eckpt.verify(directory).findings}
  assert codes <= {"state-not-latest", "state-entry-missing"}
  names = files.list_dir(directory)
  assert not [name for name in names if "temp" in name or "tmp" in name], names
  assert np.isclose(again.session.run(again._step), last + 1)

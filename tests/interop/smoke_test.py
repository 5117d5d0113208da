"""Each TensorFlow that trains Estimators resumes, saves and is resumed: in brief.

`each_tensorflow_test` has the whole suite, for `--config=full`. Always run is most of it
under 1.15.5: see `tf1_15_suites_test`.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

_TRAINING = "tests/training/every_tensorflow_test.py"
_TESTS = (
  "test_a_decorated_estimator_resumes_what_the_plain_one_wrote[dual]",
  "test_the_plain_estimator_resumes_it[dual]",
)
_KERAS = "tests/keras/every_keras_test.py"
_LOADS = "test_weights_and_optimizer_state_are_loaded"
_REFUSES = "test_a_keras_that_names_no_layers_is_an_error_that_says_where_to_go"


@pytest.mark.parametrize("environment", sorted({*suites.TRAINERS} - {"tf115"}))
def test_it_trains_and_loads_into_keras(environment, interpreter, tmp_path):
  tests = [*(f"{_TRAINING}::{test}" for test in _TESTS), f"{_KERAS}::{_LOADS}"]
  suite = suites.run(interpreter(environment), tests, tmp_path)
  assert not suite.failed, suite.failed
  assert suite.passed == {_TRAINING: list(_TESTS), _KERAS: [_LOADS]}


def test_the_keras_of_1_15_is_refused(interpreter, tmp_path):
  suite = suites.run(interpreter("tf115"), [f"{_KERAS}::{_REFUSES}"], tmp_path)
  assert suite.passed == {_KERAS: [_REFUSES]}, suite.failed

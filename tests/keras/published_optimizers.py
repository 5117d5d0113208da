"""Optimizers of published TF1 code, written again by their formulas.

LAMBOptimizer is that of ALBERT's `lamb_optimizer.py`. The others, besides BERT's, are of
`tf.contrib.opt`, which no TensorFlow 2 has. Their names of slots, and the order of their
updates, are those of the originals.
"""

from __future__ import annotations

import tensorflow as tf

from estimator_ckpt.examples.bert_tf1 import AdamWeightDecayOptimizer

tf1 = tf.compat.v1


class LAMBOptimizer(AdamWeightDecayOptimizer):
  """AdamWeightDecayOptimizer, with steps that are scaled by norms."""

  _name_of_slots = "lamb"

  def _ratio(self, param, update, excluded):
    if excluded:
      return 1.0
    w, g = tf.norm(param), tf.norm(update)
    return tf.where(w > 0, tf.where(g > 0, w / g, 1.0), 1.0)


class AdamWOptimizer(tf1.train.AdamOptimizer):
  """Adam that decays weights first, by `weight_decay` itself."""

  def __init__(self, learning_rate, weight_decay, **options):
    super().__init__(learning_rate, name="AdamW", **options)
    self._decay = weight_decay

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """Decays all weights, then makes Adam's step."""
    weights = [weight for _, weight in grads_and_vars]
    decayed = [weight.assign_sub(self._decay * weight) for weight in weights]
    with tf.control_dependencies(decayed):
      return super().apply_gradients(grads_and_vars, global_step, name)


class AdaMaxOptimizer(tf1.train.AdamOptimizer):
  """Adam with the infinity norm, by the kernel that contrib's uses."""

  def __init__(self, learning_rate, **options):
    super().__init__(learning_rate, name="AdaMax", **options)

  def _get_beta_accumulators(self):
    graph = None if tf.executing_eagerly() else tf1.get_default_graph()
    return self._get_non_slot_variable("beta1_power", graph=graph), None

  def _create_slots(self, var_list):
    first = min(var_list, key=lambda v: v.name)
    self._create_non_slot_variable(
      initial_value=self._beta1, name="beta1_power", colocate_with=first
    )
    for v in var_list:
      self._zeros_slot(v, "m", self._name)
      self._zeros_slot(v, "v", self._name)

  def _resource_apply_dense(self, grad, var):
    power, _ = self._get_beta_accumulators()
    return tf.raw_ops.ResourceApplyAdaMax(
      var=var.handle,
      m=self.get_slot(var, "m").handle,
      v=self.get_slot(var, "v").handle,
      beta1_power=tf.cast(power, grad.dtype),
      lr=tf.cast(self._lr_t, grad.dtype),
      beta1=tf.cast(self._beta1_t, grad.dtype),
      beta2=tf.cast(self._beta2_t, grad.dtype),
      epsilon=tf.cast(self._epsilon_t, grad.dtype),
      grad=grad,
    )

  def _finish(self, update_ops, name_scope):
    power, _ = self._get_beta_accumulators()
    with tf.control_dependencies(update_ops):
      updated = power.assign(power * self._beta1_t)
    return tf.group(*update_ops, updated, name=name_scope)


OPTIMIZERS = {
  made.__name__: made
  for made in (AdamWeightDecayOptimizer, LAMBOptimizer, AdamWOptimizer, AdaMaxOptimizer)
}

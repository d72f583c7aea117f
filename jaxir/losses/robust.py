"""Softmax losses against the worst distribution of labels near the uniform one: robust to wrong labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_positive, check_same_shape
from jaxir.losses.masked import log_softmax, logsumexp
from jaxir.reduce import AxisName, ReduceFn, reduce


def robust_softmax(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    base_temperature: float = 1.0,
    adaptive: bool = True,
    rigidity: float = 2.0,
    margin: float = 0.0,
    steps: int = 40,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""max over p of sum_n p_n d_n - l KL(p || uniform) [- (a/2) (l - l_0)^2].

    d_n = s_n + c [n is no positive] - s_P, where s_P is the mean of the positives' scores by their labels,
    c = ``margin`` and l_0 = ``base_temperature``. At ``adaptive=False`` l is l_0 and the maximum is l_0
    log((1/n) sum_n e^{d_n / l_0}): LDR-KL, with margin 0 the softmax loss of s / l_0 times l_0, less l_0
    log n. l_0 -> 0 is the multi-class hinge, l_0 -> infinity the difference of means, which is symmetric
    and so bears wrong labels.

    ``adaptive`` (ALDR-KL) gives each query its own l, a stationary point of the bracketed form with
    a = ``rigidity`` log(n) / l_0:

        l = l_0 (1 - KL(p_l || uniform) / (rigidity log n)),   p_l = softmax((s + c) / l),

    of those the largest, by ``steps`` iterations from l_0: a query of which the model is unsure keeps l_0,
    one of which it is sure gets down to l_0 (1 - 1 / rigidity). By the envelope theorem l has no gradient.
    The paper's code makes one such step each time an example comes by, from the l that it stored with the
    example and without the margin; here l is a function of the scores.

    Args:
      scores: [..., n].
      labels: [..., n], above 0 is a positive; grades weigh positives.
      where: [..., n] True = real. A row without a real candidate is left out of the mean; one with real
        candidates and no positive is 0 and counts. Values may be below 0.
      weights: [...] one factor per query.
      base_temperature, adaptive, rigidity, margin, steps: as above. A term's ``temperature``
        divides the scores first, and so changes what the margin is.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ, base_temperature or rigidity not above 0.

    References: Zhu, Ying and Yang 2023, label distributionally robust losses (arXiv:2112.14869).

    >>> import jax.numpy as jnp
    >>> loss = robust_softmax(jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 0.0, 0.0]), adaptive=False)
    >>> round(float(loss + jnp.log(3)), 5)
    1.40761
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    check_positive("base_temperature", base_temperature)
    check_positive("rigidity", rigidity)
    real = jnp.ones(scores.shape, bool) if where is None else where
    target = jnp.where(real & (labels > 0), labels, 0).astype(scores.dtype)
    total = jnp.sum(target, axis=-1, keepdims=True)
    target = target / jnp.where(total > 0, total, 1)
    shifted = jnp.where(real, scores + margin * (target == 0), 0)
    count = jnp.maximum(jnp.sum(real, axis=-1, keepdims=True), 1)
    own = jnp.full(count.shape, base_temperature, scores.dtype)
    pull = jnp.zeros_like(own)
    if adaptive:
        log_n = jnp.log(count.astype(scores.dtype))
        own = _temperature(jax.lax.stop_gradient(shifted), real, log_n, base_temperature, rigidity, steps)
        pull = rigidity * log_n / (2 * base_temperature) * jnp.square(own - base_temperature)
    # From the positives' mean first: the difference of numbers of like size.
    reference = jnp.sum(jnp.where(target > 0, target * scores, 0), axis=-1, keepdims=True)
    worst = logsumexp((shifted - reference) / own, real)
    values = own * (jnp.where(jnp.isneginf(worst), 0, worst) - jnp.log(count)) - pull
    return reduce(
        jnp.where(total > 0, values, 0)[..., 0],
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def _temperature(scores, real, log_n, base, rigidity, steps) -> Array:
    """[..., 1]: falls monotonically from ``base`` to the largest l that is what it should be."""

    def step(_, own):
        log_p = log_softmax(scores / own, real)
        divergence = jnp.sum(jnp.where(real, jnp.exp(log_p) * log_p, 0), axis=-1, keepdims=True) + log_n
        share = divergence / jnp.where(log_n > 0, rigidity * log_n, 1)
        # With a rigidity of 1 and less it could get to 0.
        return base * jnp.maximum(1 - share, 1e-3)

    return jax.lax.fori_loop(0, steps, step, jnp.full_like(log_n, base))

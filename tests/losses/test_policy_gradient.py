"""Plackett-Luce: probabilities and samples, and every estimator against the enumeration of all rankings."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from scipy import stats

from jaxir import losses
from jaxir.checks import InputError
from jaxir.losses import rewards
from jaxir.losses.estimators import ESTIMATORS
from jaxir.losses.plackett_luce import log_probability, sample_rankings
from jaxir.losses.policy_gradient import estimate

from .reference import random_lists

OF_PLACES = ("reinforce", "reward_to_go", "pl_rank_1")
rng = np.random.default_rng(0)


def all_rankings(n, k):
    return np.array(list(itertools.permutations(range(n), k)))


def probability(s, ranking):
    s, left, p = np.asarray(s, float), list(range(len(s))), 1.0
    for item in ranking:
        p *= np.exp(s[item]) / sum(np.exp(s[j]) for j in left)
        left.remove(item)
    return p


def value(name, y, ranking):
    """The reward as its definition says."""
    y, k = np.asarray(y, float), len(ranking)
    got = [y[i] for i in ranking]
    discount = [1 / np.log2(j + 2) for j in range(k)]
    dcg = lambda labels: sum(d * g for d, g in zip(discount, labels))
    if name == "mrr":
        return next((1 / (j + 1) for j, g in enumerate(got) if g > 0), 0.0)
    positive = sum(g > 0 for g in got)
    ideal = dcg(sorted(y, reverse=True))
    return {
        "dcg": dcg(got),
        "ndcg": dcg(got) / ideal if ideal else 0.0,
        "recall": positive / max((y > 0).sum(), 1),
        "precision": positive / k,
    }[name]


def objective(name, s, y, rankings):
    return sum(probability(s, r) * value(name, y, r) for r in rankings)


def slopes(f, s, step=1e-5):
    return np.array([(f(s + e) - f(s - e)) / (2 * step) for e in step * np.eye(len(s))])


def test_probabilities_are_the_products_and_sum_to_one():
    s, logs = rng.normal(size=4), jax.jit(log_probability)
    with jax.enable_x64(True):
        for k in (2, 4):
            r = all_rankings(4, k)
            p = np.exp(logs(jnp.asarray(s), jnp.asarray(r)))
            np.testing.assert_allclose(p, [probability(s, x) for x in r], rtol=1e-12)
            np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
        where, short = jnp.array([True, False, True, True]), jnp.array([3, 0, 2, 1])
        some = logs(jnp.asarray(s).at[1].set(jnp.nan), short, where=where)
        np.testing.assert_allclose(some, np.log(probability(s[[0, 2, 3]], [2, 0, 1])), rtol=1e-12)
    large = logs(jnp.array([1e4, 0.0, -1e4]), jnp.array([[0, 1, 2], [2, 1, 0]]))
    np.testing.assert_allclose(large, [0, -3e4])


def test_samples_have_the_probabilities_of_the_policy():
    s = jnp.array([0.5, -0.3, 1.1, 0.0])
    where = jnp.array([True, True, True, False])
    found = np.asarray(sample_rankings(jax.random.key(0), s, 20_000, where=where))
    assert (found[:, 3] == 3).all()
    kinds = all_rankings(3, 3)
    counts = [(found[:, :3] == r).all(-1).sum() for r in kinds]
    expected = [20_000 * probability(s[:3], r) for r in kinds]
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    top = sample_rankings(jax.random.key(0), s, 20_000, places=2, where=where)
    np.testing.assert_array_equal(top, found[:, :2])


@pytest.mark.parametrize("name", ["ndcg", "dcg", "recall", "precision", "mrr"])
def test_expectations_are_the_slopes_of_the_objective(name):
    """All rankings of five items, and of six to the end, weighted by their probabilities."""
    for n, k in ((5, 3), (6, 6)) if name == "ndcg" else ((4, 2),):
        check_expectations(name, n, k)


def check_expectations(name, n, k):
    s, y = rng.normal(size=n), rng.integers(0, 3, n)
    y[0] = 2
    rankings = all_rankings(n, k)
    expected = slopes(lambda s: objective(name, s, y, rankings), s)
    estimators = [e for e in ESTIMATORS if e != "leave_one_out" and (name != "mrr" or e in OF_PLACES)]

    @jax.jit
    def each(s, y, rankings):
        p = jnp.exp(log_probability(s, rankings))
        one = lambda e, r: estimate(s, y, r[None], reward=name, cutoff=k, estimator=e)
        found = {e: jax.vmap(functools.partial(one, e))(rankings) for e in estimators}
        return {e: (p @ g, p @ rewards) for e, (g, rewards) in found.items()}

    with jax.enable_x64(True):
        for e, (gradient, mean) in each(jnp.asarray(s), jnp.asarray(y), jnp.asarray(rankings)).items():
            np.testing.assert_allclose(gradient, expected, atol=1e-8, err_msg=e)
            np.testing.assert_allclose(mean[0], objective(name, s, y, rankings), rtol=1e-10)


def test_baselines_of_other_samples_and_regularisers_keep_the_expectation():
    """Pairs of rankings of four items."""
    n, k, alpha, beta = 4, 2, 0.3, 0.2
    s, y, t = rng.normal(size=n), np.array([2, 0, 1, 0]), rng.normal(size=n)
    rankings = all_rankings(n, k)

    def regularised(s):
        total = 0.0
        for r in rankings:
            p, q = probability(s, r), probability(t, r)
            total += p * (value("ndcg", y, r) - alpha * np.log(p) - beta * np.log(p / q))
        return total

    pairs = rankings[np.array(list(itertools.product(range(12), repeat=2)))]
    more = dict(entropy_weight=alpha, kl_weight=beta)

    @jax.jit
    def each(s, y, t, pairs):
        p = jnp.exp(log_probability(s, pairs[:, 0]) + log_probability(s, pairs[:, 1]))
        one = lambda e, r, **how: estimate(s, y, r, cutoff=k, estimator=e, **how)[0]
        means = lambda e, **how: p @ jax.vmap(lambda r: one(e, r, **how))(pairs)
        plain = {e: means(e) for e in ("leave_one_out", "reward_to_go", "integrated")}
        half = means("reinforce", baseline="mean"), means("leave_one_out")
        return plain, half, means("integrated", teacher=t, **more)

    with jax.enable_x64(True):
        plain, (mean, others), found = jax.device_get(each(*map(jnp.asarray, (s, y, t, pairs))))
    for e, gradient in plain.items():
        expected = slopes(lambda s: objective("ndcg", s, y, rankings), s)
        np.testing.assert_allclose(gradient, expected, atol=1e-8, err_msg=e)
    np.testing.assert_allclose(mean, others / 2, rtol=1e-10)  # (samples - 1) / samples
    np.testing.assert_allclose(found, slopes(regularised, s), atol=1e-8)


@functools.cache
def estimates():
    """Four thousand estimates of each kind, by two samples each."""
    s, y = jnp.asarray(np.random.default_rng(1).normal(size=8)), jnp.array([3, 0, 0, 1, 0, 2, 0, 0])
    r = sample_rankings(jax.random.key(0), s, 8000, places=5).reshape(4000, 2, 5)
    one = lambda e, r: estimate(s, y, r, cutoff=5, estimator=e)[0]
    all_of = jax.jit(lambda r: {e: jax.vmap(functools.partial(one, e))(r) for e in ESTIMATORS})
    return {e: np.asarray(g) for e, g in all_of(r).items()}


def test_the_order_of_variances():
    spread = {e: g.var(0).sum() for e, g in estimates().items()}
    assert spread["reinforce"] > 1.3 * spread["pl_rank_1"]
    assert spread["pl_rank_1"] > 1.3 * spread["pl_rank_2"]
    assert spread["reinforce"] > 2 * spread["leave_one_out"] > 2 * spread["reward_to_go"]
    assert spread["integrated"] < 0.9 * min(v for e, v in spread.items() if e != "integrated")


def test_the_second_and_the_third_are_equal_and_which_gradients_sum_to_zero():
    found = estimates()
    np.testing.assert_allclose(found["pl_rank_2"], found["pl_rank_3"], atol=1e-6)
    for e, g in found.items():
        each = np.abs(g.sum(-1)).max()
        assert (each > 0.1) if e in ("pl_rank_2", "pl_rank_3") else (each < 1e-5), e
        assert abs(g.sum(-1).mean()) < 0.02, e


def loss(s, y, w, t, **how):
    more = {"cutoff": 4, "samples": 8, "kl_weight": 0.1, "entropy_weight": 0.2, **how}
    return losses.pl_policy_gradient(s, y, key=jax.random.key(3), where=w, teacher=t, **more)


def data(dtype=jnp.float32):
    s, y, w, t = random_lists()
    return jnp.asarray(s, dtype), jnp.asarray(y, dtype), jnp.asarray(w), jnp.asarray(t, dtype)


@pytest.mark.parametrize("estimator", ["pl_rank_2", "integrated"])
def test_masks_extremes_and_lists_without_a_choice(estimator):
    s, y, w, t = data()
    fn = jax.jit(jax.value_and_grad(functools.partial(loss, estimator=estimator)))
    clean, gradient = fn(s, y, w, t)
    for junk in (jnp.nan, jnp.inf, -jnp.inf):
        dirty, same = fn(*(jnp.where(w, x, junk) for x in (s, y)), w, jnp.where(w, t, junk))
        np.testing.assert_allclose(dirty, clean, rtol=1e-6)
        np.testing.assert_allclose(same, gradient, rtol=1e-6)
    assert (np.asarray(gradient)[~np.asarray(w)] == 0).all()
    assert np.abs(gradient[0]).max() > 1e-3
    for size in (1e4, 1e-30, 0.0):
        assert all(np.isfinite(x).all() for x in fn(s * size, y, w, t * size))
    nothing, zero = fn(s, y, w & False, t)
    assert nothing == 0
    assert (zero == 0).all()
    assert np.isnan(fn(s.at[0, 0].set(jnp.nan), y, w, t)[0])
    # Labels of zero only: worth nothing, and nothing to learn but the regularisers.
    none = jax.jit(
        jax.value_and_grad(functools.partial(loss, estimator=estimator, kl_weight=0, entropy_weight=0))
    )
    worth, slope = none(s, 0 * y, w, t)
    assert worth == 0
    assert (slope == 0).all()


def test_one_item_and_equal_labels():
    s = jnp.asarray(rng.normal(size=5), jnp.float32)

    def one(s, e):
        y, how = jnp.ones(s.shape), dict(key=jax.random.key(0), cutoff=min(len(s), 3), estimator=e, samples=4)
        return losses.pl_policy_gradient(s, y, **how)

    @jax.jit
    def found(s):
        alone = {e: jax.value_and_grad(one)(s[:1], e) for e in ESTIMATORS}
        return alone, jax.grad(one)(s, "integrated")

    alone, same = found(s)
    for value, slope in alone.values():
        np.testing.assert_allclose(value, -1)
        np.testing.assert_allclose(slope, 0, atol=1e-6)
    np.testing.assert_allclose(same, 0, atol=1e-6)  # sample by sample


def test_samples_do_not_depend_on_the_number_of_devices():
    s, *rest = data()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    f = lambda *a: loss(*a, axis_name="data")
    sharded = lambda s: jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P())(s, *rest)
    value, gradient = jax.jit(jax.value_and_grad(sharded))(s)
    one, expected = jax.jit(jax.value_and_grad(loss))(s, *rest)
    np.testing.assert_allclose(value, one, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_batch_axes_weights_and_vmap():
    s, y, w, t = data()

    @jax.jit
    def found(*a):
        folded = loss(*(x.reshape(2, 4, -1) for x in a), reduce_fn=None)
        mapped = jax.vmap(functools.partial(loss, reduce_fn=None))(*(x[:, None] for x in a))
        weighted = loss(*a, weights=jnp.arange(8.0), reduce_fn=jnp.sum)
        return loss(*a, reduce_fn=None), folded.reshape(8), weighted, mapped[:, 0]

    each, folded, weighted, mapped = found(s, y, w, t)
    np.testing.assert_allclose(folded, each, rtol=1e-5)
    np.testing.assert_allclose(weighted, (jnp.arange(8) * each).sum(), rtol=1e-5)
    np.testing.assert_allclose(mapped[0], each[0], rtol=1e-5)  # every list is the first of its batch


def test_rewards_of_ones_own():
    s, y, w, _ = data()
    how = dict(key=jax.random.key(0), where=w, samples=4)
    first = lambda ranked, labels, where: (ranked[..., 0] > 0).astype(ranked.dtype)
    place = lambda ranked, labels, where: (ranked > 0) / jnp.arange(1.0, 5)
    linear = lambda labels, *, where, cutoff: rewards.Additive(3.0 * labels, jnp.ones(labels.shape[-1]))
    cases = {
        "first": dict(reward=first),
        "precision@1": dict(reward="precision", cutoff=1),
        "place": dict(reward=place),
        "linear": dict(reward=linear, estimator="integrated"),
        "path": dict(reward="jaxir.losses.rewards:mrr"),
        "mrr": dict(reward="mrr"),
        "dcg": dict(reward="dcg"),
        "exponential": dict(reward="dcg", gain="exponential"),
    }

    @jax.jit
    def found(s):
        own = dict(cutoff=4, estimator="reward_to_go")
        return {n: losses.pl_policy_gradient(s, y, **how, **own | case) for n, case in cases.items()}

    value = found(s)
    np.testing.assert_allclose(value["first"], value["precision@1"], rtol=1e-6)
    assert value["place"] < value["first"]
    np.testing.assert_allclose(value["path"], value["mrr"])
    assert value["exponential"] < value["dcg"]
    each = jnp.where(w, 3.0 * y, 0)
    best = jnp.sort(each, axis=-1)[:, -4:].sum(-1)
    assert value["linear"] > -best[w.any(-1)].mean()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (dict(cutoff=7), "the lists have 6 candidates"),
        (dict(cutoff=0), "from 1 to 6"),
        (dict(samples=1, estimator="leave_one_out"), "set samples to 2 or more"),
        (dict(samples=0), "at least 1"),
        (dict(key=None), "give key="),
        (dict(estimator="pl_rank_4"), "Did you mean 'pl_rank_"),
        (dict(reward="map"), "unknown reward 'map'"),
        (dict(reward="mrr"), "use estimator='reward_to_go'"),
        (dict(estimator="pl_rank_3", baseline="mean"), "no baseline to choose"),
        (dict(kl_weight=1.0), "kl_weight needs teacher"),
        (dict(reward=lambda r, y, w: r[..., :2], estimator="reinforce"), "what each place adds"),
        (dict(reward=lambda r, y, w: r / 0, estimator="reinforce"), "not finite"),
    ],
)
def test_mistakes(how, message):
    s, y, w, _ = data()
    with pytest.raises(InputError, match=message):
        losses.pl_policy_gradient(s, y, **{"key": jax.random.key(0), "where": w, "cutoff": 4, **how})

"""Closed forms and invariants of the losses of a list's order."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import rax

from jaxir import losses
from jaxir.checks import InputError

from .reference import random_lists


@functools.cache
def lists():
    s, y, w, _ = random_lists()
    return jnp.asarray(s, jnp.float32), jnp.asarray(y, jnp.float32), jnp.asarray(w)


def permuted():
    """Labels without ties."""
    s, _, w = lists()
    return s, jnp.argsort(jax.random.uniform(jax.random.key(1), s.shape), axis=-1).astype(jnp.float32), w


def test_smooth_ranks_sum_to_those_of_the_list_and_become_them():
    s, y, w = lists()

    @jax.jit
    def fn(s, y, w):
        cold = losses.approx_ranks(s, temperature=1e-4)
        ndcg = losses.approx_ndcg(s, y, where=w, temperature=1e-4)
        return losses.approx_ranks(s), losses.bound_ranks(s), cold, ndcg, rax.ndcg_metric(s, y, where=w)

    smooth, bound, cold, ndcg, metric = fn(s, y, w)
    np.testing.assert_allclose(smooth.sum(-1), 21, rtol=1e-5)
    ranks = 1 + np.argsort(np.argsort(-np.asarray(s), axis=-1), axis=-1)
    np.testing.assert_allclose(cold, ranks, atol=1e-4)
    assert (bound >= ranks).all()
    np.testing.assert_allclose(ndcg, -metric, rtol=1e-5)


def test_values_of_rax():
    scores, labels = jnp.asarray([0.0, 1.0, 3.0, 2.0]), jnp.asarray([0.0, 1.0, 0.0, 1.0])
    s, y, w = permuted()

    @jax.jit
    def fn(s):
        bound = losses.approx_mrr(scores, labels, ranks="bound")
        return bound, losses.list_mle(s, y, where=w), rax.listmle_loss(s, y, where=w)

    bound, ours, theirs = fn(s)
    np.testing.assert_allclose(bound, -1 / 3, rtol=1e-6)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_gumbel_noise_is_the_mean_over_its_samples():
    s, y, w = lists()
    key = jax.random.key(0)

    @jax.jit
    def fn(s):
        noisy = losses.gumbel_scores(s, key, samples=3)
        by_hand = jnp.mean(jax.vmap(lambda x: losses.approx_ndcg(x, y, where=w))(noisy))
        how = dict(where=w, samples=3)
        many = losses.gumbel_scores(jnp.asarray([1.0, 0.0]), key, samples=4000)
        return noisy, by_hand, losses.approx_ndcg(s, y, key=key, **how), losses.approx_ndcg(s, y, **how), many

    noisy, by_hand, value, plain, many = fn(s)
    np.testing.assert_allclose(value, by_hand, rtol=1e-6)
    assert abs(plain - value) > 1e-3  # no key, no noise
    noise = np.asarray(noisy) - np.asarray(s)
    assert len(np.unique(noise.round(4))) == noise.size
    many = np.asarray(many)
    np.testing.assert_allclose((many[:, 0] > many[:, 1]).mean(), jax.nn.sigmoid(1.0), atol=0.03)


def test_two_candidates_are_ranknet():
    t = jnp.linspace(-4, 4, 9)
    s, y = jnp.stack([t, jnp.zeros(9)], -1), jnp.tile(jnp.asarray([2.0, 1.0]), (9, 1))

    @jax.jit
    def fn(s):
        each = dict(reduce_fn=None)
        return (
            losses.list_mle(s, y, **each),
            losses.ranklist(s, y, **each),
            losses.ranklist(s, y, form="exact", **each),
            3 * losses.weighted_ranknet(s, y, **each),
        )

    for found in fn(s):
        np.testing.assert_allclose(found, np.log1p(np.exp(-t)), rtol=1e-5)


def test_ranklist_without_ties_is_list_mle_and_is_all_of_its_pairs():
    s, y, w = permuted()

    @jax.jit
    def fn(s):
        weighted = [losses.weighted_ranknet(s, y, over_pairs=p, reduce_fn=None) for p in ("sum", "mean")]
        forms = losses.ranklist(s, y, where=w), losses.list_mle(s, y, where=w)
        skipped = losses.ranklist(jnp.zeros((1, 6)), y[:1], form="exact", skips="doubling")
        apart = losses.ranklist(jnp.zeros((1, 6)), y[:1], form="exact", margin=4.0)
        return *forms, weighted, skipped / jnp.log(2), apart / jnp.log(2)

    one, other, (total, mean), skipped, apart = fn(s)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(total, 15 * mean, rtol=1e-5)
    np.testing.assert_allclose(skipped, 5 + 4 + 2, rtol=1e-5)  # pairs 1, 2 and 4 places apart
    np.testing.assert_allclose(apart, 3, rtol=1e-5)  # differences of 4 and 5 among 0..5


def test_ties_are_broken_by_the_key():
    s = jnp.asarray([1.0, 0.5, -0.3])
    y = jnp.asarray([1.0, 0.0, 0.0])
    keys = jax.random.split(jax.random.key(0), 40)
    both = jnp.asarray([[2.0, 1.0, 0.0], [2.0, 0.0, 1.0], [1.0, 0.0, 0.0]])

    @jax.jit
    def fn(s):
        orders = losses.list_mle(jnp.tile(s, (3, 1)), both, reduce_fn=None)
        return jax.vmap(lambda k: losses.list_mle(s, y, key=k))(keys), orders[:2], orders[2]

    found, orders, plain = fn(s)
    nearest = np.abs(np.asarray(found)[:, None] - np.asarray(orders)).argmin(-1)
    np.testing.assert_allclose(found, np.asarray(orders)[nearest], rtol=1e-5)
    assert 5 < nearest.sum() < 35
    np.testing.assert_allclose(plain, orders[0], rtol=1e-6)  # as they stand


def test_group_ordering_of_two_and_its_limits():
    gap = jnp.linspace(-3, 3, 7)
    s, y = jnp.stack([gap, jnp.zeros(7)], -1), jnp.eye(2)[:1].repeat(7, 0)

    @jax.jit
    def fn(s):
        two = losses.groco(s, y, steepness=2.0, reduce_fn=None)
        order = jnp.asarray([[5.0, 4.0, 1.0, 3.0, -2.0]])
        labels = jnp.asarray([[1.0, 2.0, 0.0, 0.0, 0.0]])
        hard = losses.groco(order, labels, steepness=1e6)
        wrong = losses.groco(-order, labels, steepness=1e6)
        cut = losses.groco(order, labels, negatives=1), losses.groco(order[:, [0, 1, 3]], labels[:, :3])
        few = losses.groco(order, labels, negatives=2, positives=1)
        few = few, losses.groco(order[:, [1, 2, 3]], labels[:, [0, 2, 3]], negatives=2)
        return two, hard, wrong, cut, few

    two, hard, wrong, cut, few = fn(s)
    np.testing.assert_allclose(two, -np.log(0.5 + np.arctan(2 * gap) / np.pi), rtol=1e-5)
    assert 0 <= hard < 1e-4
    assert wrong > 4
    np.testing.assert_allclose(*cut, rtol=1e-6)  # the one negative is the highest
    np.testing.assert_allclose(*few, rtol=1e-6)  # the one positive the lowest


def test_soft_topk():
    s, _, w = lists()

    @jax.jit
    def fn(s):
        p = losses.soft_topk(s, 2, where=w)
        sharp = losses.soft_topk(s, 2, steepness=1e3)
        jacobian = jax.vmap(jax.jacobian(lambda x: losses.soft_topk(x, 2)))(s)
        return p, sharp, losses.soft_topk(s + 9, 2, where=w), losses.soft_topk(s, 2), jacobian

    p, sharp, shifted, whole, jacobian = fn(s)
    count = np.asarray(w).sum(-1)
    np.testing.assert_allclose(p.sum(-1), np.minimum(count, 2), atol=1e-5)
    np.testing.assert_allclose(shifted, p, atol=1e-5)
    best = np.argsort(np.argsort(-np.asarray(s), axis=-1), axis=-1) < 2
    np.testing.assert_allclose(sharp, best, atol=1e-3)
    v = 2 * np.asarray(whole * (1 - whole))
    expected = v[:, :, None] * np.eye(6) - v[:, :, None] * v[:, None] / v.sum(-1)[:, None, None]
    np.testing.assert_allclose(jacobian, expected, atol=1e-5)


def test_the_robust_softmax_between_hinge_and_mean():
    s = jnp.asarray([[2.0, 1.0, 3.0], [0.5, 0.5, 0.5]])
    y = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

    @jax.jit
    def fn(s):
        fixed = lambda t: losses.robust_softmax(s, y, base_temperature=t, adaptive=False, reduce_fn=None)
        cross = 0.7 * (losses.softmax(s, y, temperature=0.7, reduce_fn=None) - jnp.log(3))
        return fixed(1e-3), fixed(1e4), fixed(0.7), cross, losses.robust_softmax(s, y, reduce_fn=None)

    hinge, mean, own, cross, adaptive = fn(s)
    np.testing.assert_allclose(hinge, [1, 0], atol=3e-3)
    np.testing.assert_allclose(mean, [0, 0], atol=2e-3)
    np.testing.assert_allclose(own, cross, rtol=1e-4, atol=1e-6)
    # The best of the bracketed form over a grid of its temperature, from the largest local maximum.
    grid = np.linspace(0.5, 1, 2001)
    d = np.asarray([0.0, -1.0, 1.0])
    values = grid * np.log(np.exp(d / grid[:, None]).mean(-1)) - np.log(3) * (grid - 1) ** 2
    np.testing.assert_allclose(adaptive, [values.max(), 0], atol=1e-5)


def test_tokens_of_a_written_ranking():
    ids = jnp.asarray([[9, 5, 9, 4, 9, 3, 0], [7, 7, 9, 7, 0, 0, 0]])
    where = jnp.asarray([[0, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0, 0]], bool)
    log_p = -jnp.ones((2, 7))

    @jax.jit
    def fn(ids):
        ranks = losses.token_ranks(ids, 9, where)
        each = losses.rank_aware_nll(log_p, ranks, where=where, reduce_fn=None)
        return ranks, each, losses.rank_aware_nll(log_p, 0 * ranks, where=where)

    ranks, each, plain = fn(ids)
    np.testing.assert_array_equal(ranks, [[0, 1, 0, 2, 0, 3, 0], [1, 1, 0, 2, 0, 0, 0]])
    w = 1 + 1 / np.log2([2, 3, 4])
    np.testing.assert_allclose(each, [(w.sum() + 2) / 5, (2 * w[0] + 1 + w[1]) / 4], rtol=1e-6)
    np.testing.assert_allclose(plain, 1)


def test_ranking_accuracy_of_preference_pairs():
    chosen, rejected = jnp.asarray([1.0, 2.0, 0.0, 5.0]), jnp.asarray([0.0, 2.0, 1.0, 4.0])
    pairs, labels = jnp.stack([rejected, chosen], -1), jnp.tile(jnp.asarray([0.0, 1.0]), (4, 1))
    fn = jax.jit(losses.ranking_accuracy)
    assert fn(pairs, labels) == 0.75  # equal likelihoods are right
    assert fn(pairs, 0 * labels) == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("approx_ndcg", {"ranks": "aprox"}, "Did you mean 'approx'"),
        ("approx_mrr", {"temperature": 0.0}, "temperature is 0.0"),
        ("approx_mrr", {"samples": -1, "key": jax.random.key(0)}, "samples is -1"),
        ("weighted_ranknet", {"over_pairs": "means"}, "Did you mean 'mean'"),
        ("ranklist", {"form": "lse"}, "form of ranklist"),
        ("ranklist", {"skips": "double"}, "Did you mean 'doubling'"),
        ("groco", {"negatives": 0}, "at least 1"),
        ("groco", {"steepness": 0.0}, "above 0"),
        ("soft_topk_loss", {"k": 0}, "at least 1"),
        ("soft_topk_loss", {"steepness": -1.0}, "above 0"),
        ("robust_softmax", {"rigidity": 0.0}, "rigidity is 0.0"),
        ("wasserstein", {"label_temperature": 0.0}, "above 0"),
    ],
)
def test_options_that_make_no_sense(name, options, message):
    with pytest.raises((InputError, jaxtyping.TypeCheckError), match=message):
        getattr(losses, name)(jnp.zeros((2, 2)), jnp.eye(2), **options)

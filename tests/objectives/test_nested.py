"""Matryoshka, 2D and Starbucks against loops over float64 numbers, and what must hold for any of them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.objectives import Objective, combine, matryoshka, matryoshka_2d, starbucks
from jaxir.objectives.alignment import kl_of_coordinates, kl_of_scores
from jaxir.reduce import masked_mean
from jaxir.types import BatchReps, Reps

from .nested_toys import LAYERS, B, D, N, batch, encoder, reps, where

T, FLOPS = 0.5, 0.1
RANK = dict(fn="jaxir.losses:softmax", temperature=T)
TERMS = dict(rank=RANK, flops=dict(fn="jaxir.losses:flops", on="docs", weight=FLOPS))
NOTHING = dict(rank=RANK | dict(weight=0.0))  # leaves the divergence alone
REAL = [i for i in range(B) if where()[i].any()]
DOCS = [(i, g) for i in range(B) for g in range(N) if where()[i, g]]

x64 = functools.partial(jax.enable_x64, True)
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)


# The references: loops over numpy's float64.


def cut(x, m, kind="dense", normalized=False):
    x = np.array(x)
    if kind == "sparse":
        for row in x.reshape(-1, x.shape[-1]):
            row[np.argsort(-row, kind="stable")[m:]] = 0
        return x
    x = x[..., :m]
    return x / np.linalg.norm(x, axis=-1, keepdims=True) if normalized and m < D else x


def probabilities(logits):
    e = np.exp(np.array(logits) - max(logits))
    return e / e.sum()


def kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q))


def ranking(q, d):
    of = {i: probabilities([q[i] @ d[j] / T for j in DOCS]) for i in REAL}
    return np.mean([-np.log(of[i][DOCS.index((i, 0))]) for i in REAL])


def flops(d):
    return sum(np.mean([abs(d[j][k]) for j in DOCS]) ** 2 for k in range(d.shape[-1]))


def plain(q, d):
    return ranking(q, d) + FLOPS * flops(d)


def divergence_of_scores(small, full):
    p, s = ([probabilities([q[i] @ d[j] / T for j in DOCS]) for i in REAL] for q, d in (full, small))
    return np.mean([kl(*pair) for pair in zip(p, s)])


def divergence_of_coordinates(small, full, t=1.0):
    rows = [(a[i], b[i]) for a, b in zip(small[:1], full[:1]) for i in REAL]
    docs = [(small[1][j], full[1][j]) for j in DOCS]
    each = [np.mean([kl(probabilities(f / t), probabilities(s / t)) for s, f in x]) for x in (rows, docs)]
    return sum(each) / 2


def sides(layer, m, **how):
    return cut(layer.query.values, m, **how), cut(layer.docs.values, m, **how)


HOWS = {
    "plain": {},
    "normalised": dict(normalized=True),
    "sparse": dict(kind="sparse"),
}


@pytest.mark.parametrize("name", HOWS)
def test_matryoshka(name):
    how, dims, weights = HOWS[name], (2, 3, 6), (1.0, 0.5, 2.0)
    with x64():
        (layer,) = reps(how.get("kind", "dense"), 1)
        objective = matryoshka(combine(TERMS), encoder=encoder(**how), dims=dims, weights=weights)
        each = [matryoshka(combine(TERMS), encoder=encoder(**how), dims=(d,)) for d in dims]
        run = lambda f: f(layer, batch())
        (value, metrics), single = jax.jit(lambda: (run(objective), [run(f)[0] for f in each]))()
    expected = [plain(*sides(layer, d, **how)) for d in dims]
    close(value, np.dot(weights, expected))
    close(single, expected)
    close(metrics["6/rank"], ranking(*sides(layer, 6, **how)))
    assert metrics["rank"] == metrics["6/rank"] != metrics["2/rank"]
    assert 0 <= metrics["3/rank/top1"] <= 1
    close(metrics["3/flops"], flops(sides(layer, 3, **how)[1]))


def maxsim(params, query, docs):
    """[b, m]: sum over the query's tokens of the largest product with one of the document's."""
    pairs = jnp.einsum("bsd,mtd->bmst", query.values, docs.values)
    best = jnp.max(jnp.where(docs.mask[None, :, None], pairs, -1e9), axis=-1)
    return jnp.sum(jnp.where(query.mask[:, None], best, 0), axis=-1)


def of_tokens():
    def apply(params, reps, batch, *, axis_name=None, memory=None, **how):
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), reps.docs)
        scores = jnp.where(where().reshape(-1), maxsim(params, reps.query, flat), -jnp.inf)
        values = jax.nn.logsumexp(scores, axis=-1) - scores[jnp.arange(B), N * jnp.arange(B)]
        return masked_mean(values, jnp.asarray(where()[:, 0]), axis_name), {}, {}

    return Objective(lambda key: {}, apply, scores=maxsim)


def test_one_vector_per_token_is_cut_by_its_dimensions_and_by_layers():
    sizes = ((1, 2), (3, D))
    with x64():
        layers = reps("tokens")
        made = encoder("tokens", normalized=True)
        wide = jax.jit(matryoshka(of_tokens(), encoder=made, dims=(2, 5)))(layers[0], batch())[0]
        deep = jax.jit(starbucks(of_tokens(), encoder=made, sizes=sizes))((layers[0], layers[2]), batch())[0]

    def scores(layer, m):
        q, d = sides(layer, m, normalized=True)
        tokens = lambda x, mask: x[np.array(mask)]
        pairs = lambda i, j: tokens(q[i], layer.query.mask[i]) @ tokens(d[j], layer.docs.mask[j]).T
        return {i: np.array([pairs(i, j).max(1).sum() for j in DOCS]) for i in REAL}

    def loss(s):
        return np.mean([-np.log(probabilities(s[i])[DOCS.index((i, 0))]) for i in REAL])

    close(wide, loss(scores(layers[0], 2)) + loss(scores(layers[0], 5)))
    small, full = scores(layers[0], 2), scores(layers[2], D)
    apart = np.mean([kl(probabilities(full[i]), probabilities(small[i])) for i in REAL])
    close(deep, loss(small) + loss(full) + apart)


@pytest.mark.parametrize(("form", "normalized"), [("scores", False), ("coordinates", True)])
def test_starbucks(form, normalized):
    sizes, weights, kappa, how = ((1, 2), (2, 2), (3, 6)), (1.0, 0.5, 2.0), 0.3, dict(normalized=normalized)
    options = dict(sizes=sizes, kl=form, kl_weight=kappa, weights=weights)
    with x64():
        layers = reps()
        value, metrics = jax.jit(starbucks(combine(TERMS), encoder=encoder(**how), **options))(
            layers, batch()
        )
    seen = [sides(layers[n - 1], d, **how) for n, d in sizes]
    if form == "scores":
        apart = [divergence_of_scores(s, seen[-1]) for s in seen[:-1]]
    else:
        apart = [divergence_of_coordinates(s, sides(layers[2], d, **how)) for s, (_, d) in zip(seen, sizes)]
        apart.pop()
    close(value, np.dot(weights, [plain(*s) for s in seen]) + kappa * sum(apart))
    close([metrics["1x2/kl"], metrics["2x2/kl"]], apart)
    close(metrics["rank"], ranking(*seen[-1]))
    assert "3x6/kl" not in metrics


@pytest.mark.parametrize("reading", ["detached", "joint"])
def test_2d(reading):
    """Each step is that of one layer and two widths, which the loss itself tells; all are drawn."""
    dims, t, kappa = (3, D), 0.3, 0.7
    objective = matryoshka_2d(
        combine(TERMS), encoder=encoder(normalized=True), dims=dims, reading=reading, kl_weight=kappa
    )
    keys = jax.random.split(jax.random.key(1), 48)
    with x64():
        layers = reps()
        values, metrics = jax.jit(jax.vmap(lambda k: objective(layers, batch(), key=k)))(keys)
        without, _ = jax.jit(objective)(layers, batch())
    how = dict(normalized=True)
    close(without, plain(*sides(layers[-1], D, **how)))  # in evaluation nothing is drawn
    share = {"detached": lambda n: 1.0, "joint": lambda n: 1 / (1 + n)}[reading]
    last = {d: plain(*sides(layers[-1], d, **how)) for d in dims}
    expected = {}
    for n, d, e in itertools.product((1, 2), dims, dims):
        whole = [sides(x, D) for x in (layers[n - 1], layers[-1])]
        apart = divergence_of_coordinates(*whole, t)
        expected[n, d, e] = last[d] + share(n) * plain(*sides(layers[n - 1], e, **how)) + kappa * t * apart
    drawn = set()
    for value, n in zip(values, np.array(metrics["layer"])):
        fits = [size for size, x in expected.items() if abs(x - value) < 1e-9]
        assert [size[0] for size in fits] == [n]
        drawn |= set(fits)
    assert drawn == set(expected)


def test_one_full_size_is_the_plain_objective():
    made, base = encoder(), combine(TERMS)
    with x64():
        layers = reps()
        one = lambda f: jax.value_and_grad(lambda r: f(r)[0])
        expected, slope = jax.jit(one(lambda r: base(r, batch())))(layers[-1])
        wide = matryoshka(base, encoder=made, dims=(D,))
        deep = starbucks(base, encoder=made, sizes=((LAYERS, D),))
        for got in (one(lambda r: wide(r, batch())), one(lambda r: deep((r,), batch()))):
            value, found = jax.jit(got)(layers[-1])
            close(value, expected)
            jax.tree.map(close, found, slope)


def slopes(objective, layers, **how):
    return jax.jit(jax.grad(lambda r: objective(r, batch(), **how)[0]))(layers)


def size_of(x):
    return float(sum(jnp.sum(jnp.abs(y)) for y in jax.tree.leaves(x)))


def test_dimensions_beyond_the_widest_get_no_gradient():
    objective = matryoshka(combine(TERMS), encoder=encoder(normalized=True), dims=(2, 5))
    query, docs = (side.values for side in slopes(objective, reps(count=1)[0]))
    assert (query[..., 5:] == 0).all()
    assert (docs[..., 5:] == 0).all()
    assert (docs[0, 0, :5] != 0).all()


def test_who_learns_from_a_divergence():
    """Scores: the students alone. Coordinates: the teacher too. 2D: as the reading says, and one layer."""
    layers, base = reps(), combine(NOTHING)
    bucks = functools.partial(starbucks, base, encoder=encoder(), sizes=((1, 2), (2, 4), (3, D)))
    for form, teacher_learns in (("scores", False), ("coordinates", True)):
        moved = [size_of(x) > 1e-6 for x in slopes(bucks(kl=form), layers)]
        assert moved == [True, True, teacher_learns], form
    for reading, teacher_learns in (("detached", False), ("joint", True)):
        objective = matryoshka_2d(base, encoder=encoder(), dims=(4, D), reading=reading)
        moved = [size_of(x) > 1e-6 for x in slopes(objective, layers, key=jax.random.key(0))]
        assert (sum(moved[:2]), moved[2]) == (1, teacher_learns), reading


def dot(query, docs):
    return query.values @ docs.values.T


def test_divergences_are_0_where_nothing_is_lost():
    small, full = reps(count=2)
    extended = lambda x, more: Reps(jnp.concatenate([x.values, more], axis=-1))
    shift = jax.random.normal(jax.random.key(0), (B, 1))
    query = extended(full.query, shift)
    by_row = BatchReps(query, extended(full.docs, jnp.ones((B, N, 1))))  # each row's scores by a constant
    by_doc = BatchReps(query, extended(full.docs, jnp.arange(2.0 * B).reshape(B, N, 1)))
    apart = jax.jit(lambda *pair: kl_of_scores(dot, *pair, batch()))
    assert max(abs(apart(x, full)) for x in (full, by_row)) < 1e-5
    assert min(apart(x, full) for x in (by_doc, small)) > 0.1
    of = jax.jit(lambda s: kl_of_coordinates(s, full.docs.values, jnp.asarray(where()), temperature=0.3))
    assert abs(of(full.docs.values + 3.0)) < 1e-5  # a constant is no difference of logits
    assert of(small.docs.values) > 0.1


def graded(layers, *, mode=None, axis=False, form="scores"):
    """Value and gradient of the divergence between two layers, with an axis by halves of the batch."""
    halves = lambda x: x.reshape(2, B // 2, *x.shape[1:])

    def value(layers):
        seen = (layers, where())

        def each(layers, real):
            of = batch()._replace(where=real)
            name = "i" if axis else None
            if form == "coordinates":
                return kl_of_coordinates(*(x.docs.values for x in layers), jnp.asarray(real), axis_name=name)
            return kl_of_scores(dot, *layers, of, axis_name=name, mode=mode, tile=5)

        if not axis:
            return each(*seen)
        return jax.vmap(each, axis_name="i")(*jax.tree.map(halves, seen))[0]

    return jax.value_and_grad(value)(layers)


def test_divergences_in_tiles_over_an_axis_with_junk_in_padding():
    """Dense on one device, and the same in tiles, over an axis, and with NaN where nothing is real."""
    with x64():
        layers = reps(count=2)
        row, doc = where().any(1)[:, None], where()[..., None]
        dirt = lambda x: BatchReps(
            Reps(jnp.where(row, x.query.values, jnp.inf)), Reps(jnp.where(doc, x.docs.values, jnp.nan))
        )
        junk = jax.tree.map(dirt, layers, is_leaf=lambda x: isinstance(x, BatchReps))
        huge = jax.tree.map(lambda x: 100 * x, layers)  # scores around 1e4

        @jax.jit
        def run():
            one = lambda **how: graded(layers, **how)
            same = [one(mode="tiled"), one(axis=True), one(mode="tiled", axis=True)]
            same += [graded(junk, mode=mode) for mode in ("dense", "tiled")]
            of = [graded(x, form="coordinates", axis=axis) for x, axis in ((junk, False), (layers, True))]
            return (
                one(),
                same,
                one(form="coordinates"),
                of,
                [graded(huge, mode=m) for m in ("dense", "tiled")],
            )

        expected, same, of_coordinates, these, (large, in_tiles) = run()
    (small, full) = (sides(x, D) for x in layers)
    apart = [probabilities([q @ d for d in (full[1][j] for j in DOCS)]) for q in full[0][REAL]]
    other = [probabilities([q @ d for d in (small[1][j] for j in DOCS)]) for q in small[0][REAL]]
    close(expected[0], np.mean([kl(*pair) for pair in zip(apart, other)]))
    for got in same:
        jax.tree.map(functools.partial(close, rtol=1e-6, atol=1e-8), got, expected)
    for got in these:
        jax.tree.map(close, got, of_coordinates)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(large))
    assert large[0] > 100
    jax.tree.map(functools.partial(close, rtol=1e-6, atol=1e-6), in_tiles, large)


def test_padding_and_extremes_of_the_whole_loss():
    layers = reps()
    row, doc = where().any(1)[:, None], where()[..., None]
    dirt = lambda x: BatchReps(
        Reps(jnp.where(row, x.query.values, jnp.nan)), Reps(jnp.where(doc, x.docs.values, jnp.nan))
    )
    junk = tuple(map(dirt, layers))
    objective = starbucks(combine(TERMS), encoder=encoder(), sizes=((1, 2), (2, 4), (3, D)))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), layers, junk)
    steep = jax.tree.map(lambda x: 1e2 * x, layers)

    @jax.jit
    def run():
        loss = lambda r: objective(r, batch())[0]
        return loss(layers), jax.vmap(loss)(stacked), jax.grad(loss)(steep)

    one, (clean, dirty), slope = run()
    np.testing.assert_allclose(clean, one, rtol=1e-5)
    np.testing.assert_allclose(dirty, one, rtol=1e-5)
    assert 0 < size_of(slope) < np.inf

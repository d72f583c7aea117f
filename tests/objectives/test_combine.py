"""Objectives of named terms: values, weights, metrics, learnable temperature, and the mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxir import losses, negatives, scoring
from jaxir.checks import InputError
from jaxir.negatives import BLOCKS
from jaxir.objectives import combine
from jaxir.types import Batch, BatchReps, Reps, Tokens

RANK = dict(fn="jaxir.losses:softmax", on="in_batch", temperature=0.1)


@functools.cache
def example(b=8, n=3, d=6):
    k = jax.random.split(jax.random.key(0), 4)
    tokens = lambda *shape: Tokens(jnp.zeros(shape, jnp.int32), jnp.ones(shape, bool))
    where = jax.random.bernoulli(k[2], 0.7, (b, n)).at[:, 0].set(True).at[5].set(False)
    batch = Batch(
        query=tokens(b, 4),
        docs=tokens(b, n, 4),
        labels=jnp.zeros((b, n)).at[:, 0].set(1),
        where=where,
        teacher=jax.random.normal(k[3], (b, n)),
        query_id=jnp.arange(b, dtype=jnp.int32),
        doc_id=jnp.arange(b * n, dtype=jnp.int32).reshape(b, n).at[1, 0].set(0),
    )
    reps = BatchReps(Reps(jax.random.normal(k[0], (b, d))), Reps(jax.random.normal(k[1], (b, n, d))))
    return reps, batch


def test_terms_see_what_on_says():
    reps, batch = example()
    objective = combine(
        dict(
            rank=RANK,
            distil=dict(fn="jaxir.losses:margin_mse", on="listed", weight=0.05),
            lists=dict(fn="rax:softmax_loss", on="listed", temperature=2.0, score="cosine"),
            sparse=dict(fn="jaxir.losses:flops", on="docs", weight=3.0),
            short=dict(fn="jaxir.losses:l1", on="query", weight=0.0),
        )
    )

    @jax.jit
    def by_hand(reps, batch):
        c = negatives.in_batch(
            reps.query.values,
            reps.docs.values,
            labels=batch.labels,
            where=batch.where,
            doc_id=batch.doc_id,
            query_id=batch.query_id,
        )
        own = scoring.listed(reps.query.values, reps.docs.values)
        cosines = scoring.listed(reps.query.values, reps.docs.values, scoring.cosine)
        return dict(
            rank=losses.softmax(c.scores, c.labels, where=c.where, temperature=0.1),
            distil=losses.margin_mse(own, teacher=batch.teacher, where=batch.where),
            lists=rax.softmax_loss(cosines / 2.0, batch.labels, where=batch.where),
            sparse=losses.flops(reps.docs.values, where=batch.where),
            short=losses.l1(reps.query.values, where=jnp.any(batch.where, -1)),
        )

    loss, metrics = jax.jit(objective)(reps, batch)
    expected = by_hand(reps, batch)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6)
    weights = dict(rank=1, distil=0.05, lists=1, sparse=3, short=0)
    np.testing.assert_allclose(loss, sum(weights[k] * v for k, v in expected.items()), rtol=1e-6)
    assert 0 <= metrics["rank/top1"] <= 1


def test_top1_counts_queries_whose_best_candidate_is_a_positive():
    reps = BatchReps(Reps(jnp.eye(4)), Reps(jnp.eye(4)[jnp.array([0, 1, 3, 2])][:, None]))
    batch = example(4, 1)[1]._replace(where=jnp.ones((4, 1), bool), doc_id=None)
    assert jax.jit(combine(dict(rank=RANK)))(reps, batch)[1]["rank/top1"] == 0.5


def test_a_weight_may_be_a_schedule_of_the_step():
    reps, batch = example()
    ramp = dict(fn="jaxir.losses:quadratic_ramp", peak=2.0, steps=10)
    objective = combine(dict(sparse=dict(fn="jaxir.losses:flops", on="docs", weight=ramp)))
    value = losses.flops(reps.docs.values, where=batch.where)
    for step, weight in ((0, 0.0), (5, 0.5), (10, 2.0)):
        loss, metrics = jax.jit(objective)(reps, batch, step=step)
        np.testing.assert_allclose(loss, weight * value, rtol=1e-6)
        np.testing.assert_allclose(metrics["sparse/weight"], weight, rtol=1e-6)


def test_learnable_temperature():
    reps, batch = example()
    objective = combine(dict(rank={**RANK, "temperature": dict(init=0.1, min=0.02)}))
    params = objective.init(jax.random.key(0))
    fixed = jax.jit(combine(dict(rank=RANK)))(reps, batch)[0]
    fn = jax.jit(jax.value_and_grad(lambda p: objective(reps, batch, params=p), has_aux=True))
    (value, _), gradient = fn(params)
    np.testing.assert_allclose(value, fixed, rtol=1e-5)
    assert gradient["rank_log_temperature"] != 0
    cold = jax.tree.map(lambda x: x - 10, params)
    np.testing.assert_allclose(fn(cold)[0][1]["rank/temperature"], 0.02, rtol=1e-6)


LAMBDA = dict(function="rax:dcg_lambdaweight", topn=2)
OBJECTIVES = [
    dict(rank=RANK),
    dict(rank=dict(fn="jaxir.losses:symmetric_softmax", temperature=0.1)),
    dict(rank={**RANK, "negatives": dict(blocks=BLOCKS)}),
    dict(rank={**RANK, "negatives": dict(other_hard_negatives=False)}),
    dict(
        rank=RANK,
        kl=dict(fn="jaxir.losses:kl_divergence", on="listed", weight=0.3),
        lists=dict(fn="rax:pairwise_logistic_loss", on="listed"),
        lambdas=dict(fn="rax:pairwise_logistic_loss", on="listed", lambdaweight_fn=LAMBDA),
        order=dict(fn="rax:pairwise_hinge_loss", on="listed", labels="teacher", weight=0.2),
        docs=dict(fn="jaxir.losses:flops", on="docs"),
        query=dict(fn="jaxir.losses:l1", on="query"),
    ),
]


@functools.cache
def on_one_device():
    reps, batch = example()
    f = lambda r: {i: _graded(combine(t), r, batch) for i, t in enumerate(OBJECTIVES)}
    return jax.jit(f)(reps)


def _graded(objective, reps, batch, wrap=lambda f: f, **how):
    f = wrap(lambda r, b: objective(r, b, step=3, **how))
    return jax.value_and_grad(lambda r: f(r, batch), has_aux=True)(reps)


@pytest.mark.parametrize("shape", [{"data": 1}, {"data": 4}, {"data": 2, "fsdp": 4}], ids=str)
def test_loss_metrics_and_gradients_do_not_depend_on_the_mesh(shape):
    """All objectives in one program."""
    reps, batch = example()
    axes = tuple(shape)
    mesh = jax.make_mesh(tuple(shape.values()), axes, axis_types=(AxisType.Auto,) * len(axes))
    wrap = lambda f: jax.shard_map(f, mesh=mesh, in_specs=P(axes), out_specs=P())
    found = jax.jit(
        lambda r: {i: _graded(combine(t), r, batch, wrap, axis_name=axes) for i, t in enumerate(OBJECTIVES)}
    )(reps)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, on_one_device())


def test_losses_of_rax_and_a_teachers_order():
    """As they are: with functions as arguments, and with a teacher's scores for labels."""
    reps, batch = example()
    _, metrics = on_one_device()[4][0]
    batch = batch._replace(teacher=batch.teacher.at[0, 0].set(jnp.nan))
    weigh = functools.partial(rax.dcg_lambdaweight, topn=2)

    @jax.jit
    def by_hand(reps):
        s = scoring.listed(reps.query.values, reps.docs.values)
        known = jnp.isfinite(batch.teacher)
        return {
            "lambdas": rax.pairwise_logistic_loss(s, batch.labels, where=batch.where, lambdaweight_fn=weigh),
            "order": losses.list_mle(s, jnp.where(known, batch.teacher, 0), where=batch.where & known),
        }

    expected = by_hand(reps)
    np.testing.assert_allclose(metrics["lambdas"], expected["lambdas"], rtol=1e-5)
    terms = dict(order=dict(fn="jaxir.losses:list_mle", on="listed", labels="teacher"))
    found = jax.jit(combine(terms))(reps, batch)[1]
    np.testing.assert_allclose(found["order"], expected["order"], rtol=1e-5)
    np.testing.assert_allclose(found["order/unscored"], 1 / batch.where.sum(), rtol=1e-5)
    with pytest.raises(InputError, match="batch has none"):
        combine(terms)(reps, batch._replace(teacher=None))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "no terms"),
        (dict(rank=dict(on="in_batch")), "has no 'fn'"),
        (dict(rank={**RANK, "on": "in_batches"}), "Did you mean 'in_batch'"),
        (dict(rank={**RANK, "label_smothing": 0.1}), "Did you mean 'label_smoothing'"),
        (dict(rank={**RANK, "negatives": dict(block=1)}), "Did you mean 'blocks'"),
        (dict(rank={**RANK, "on": "listed", "negatives": dict(blocks=1)}), "only for on='in_batch'"),
        (dict(rank={**RANK, "temperature": -1.0}), "above 0"),
        (dict(rank={**RANK, "temperature": dict(inti=1)}), "Did you mean 'init'"),
        (dict(rank={**RANK, "score": "l2"}), "unknown score"),
        (dict(rank={**RANK, "fn": "jaxir.losses:sofmax"}), "softmax"),
        (dict(rank={**RANK, "fn": "os:system"}), "allow-import=os"),
        (dict(rank={**RANK, "columns": (3, 3)}), "expected 0 <= start < stop"),
        (dict(rank={**RANK, "columns": 3}), r"two whole numbers \(start, stop\)"),
        (dict(rank={**RANK, "labels": "teacher"}), "on='listed' and for losses of labels"),
        (dict(rank={**RANK, "labels": "teachers"}), "Did you mean 'teacher'"),
        (dict(rank={**RANK, "ensemble": {}}), "losses of a teacher on='listed'"),
        (dict(rank={**RANK, "memory": dict(fn="jaxir.objectives:running_df")}), "for on='query'"),
        (dict(w=dict(fn="jaxir.losses:idf_flops", on="docs")), "needs 'idf', .*arrays={'idf'"),
        (dict(w=dict(fn="jaxir.losses:df_flops", on="docs")), "running_df"),
        (dict(w=dict(fn="jaxir.losses:l0_mask_flops", on="docs")), "needs 'threshold'"),
    ],
)
def test_bad_terms_say_what_to_change(terms, message):
    with pytest.raises(InputError, match=message):
        combine(terms, allow=("jaxir", "rax"))


def test_distillation_without_teacher_scores():
    reps, batch = example()
    objective = combine(dict(d=dict(fn="jaxir.losses:margin_mse", on="listed")))
    with pytest.raises(InputError, match="negatives file with scores"):
        objective(reps, batch._replace(teacher=None))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (RANK | dict(negatives=dict(mode="tile")), "Did you mean 'tiled'"),
        (RANK | dict(fn="rax:softmax_loss", negatives=dict(mode="ring")), "softmax and symmetric_softmax"),
        (RANK | dict(label_smoothing=0.1, negatives=dict(mode="tiled")), "without label_smoothing"),
        (RANK | dict(on="listed", negatives=dict(mode="tiled")), "only for on='in_batch'"),
    ],
)
def test_forms_of_negatives_that_do_not_fit(term, message):
    with pytest.raises(InputError, match=message):
        combine(dict(rank=term))


def test_a_config_may_leave_the_form_of_negatives_open():
    unset = dict(negatives=dict(mode=None, tile=None))
    reps, batch = example()
    plain, _ = combine(dict(rank=RANK))(reps, batch)
    assert combine(dict(rank=RANK | unset))(reps, batch)[0] == plain
    combine(dict(rank=RANK | unset | dict(on="listed")))(reps, batch)


def test_columns_are_what_a_term_sees():
    reps, batch = example()
    terms = dict(
        rank=RANK | dict(score="cosine"),
        own=dict(fn="jaxir.losses:softmax", on="listed"),
        docs=dict(fn="jaxir.losses:idf_flops", on="docs", idf=jnp.arange(1.0, 4.0)),
    )
    part = lambda r: Reps(r.values[..., 2:5])
    sliced = {name: term | dict(columns=(2, 5)) for name, term in terms.items()}
    f = jax.jit(lambda r: (combine(sliced)(r, batch), combine(terms)(BatchReps(*map(part, r)), batch)))
    jax.tree.map(np.testing.assert_array_equal, *f(reps))
    with pytest.raises(InputError, match=r"columns=\(2, 9\), and the encoder's representations have 6"):
        combine(dict(docs=dict(fn="jaxir.losses:l1", on="docs", columns=(2, 9))))(reps, batch)
    ends = [combine(dict(docs=dict(fn="jaxir.losses:l1", on="docs", columns=c))) for c in ((2, 6), (2, None))]
    assert ends[0](reps, batch)[0] == ends[1](reps, batch)[0]


def test_several_teachers_are_made_one():
    reps, batch = example()
    three = jax.random.normal(jax.random.key(9), (8, 3, 3))
    term = dict(fn="jaxir.losses:kl_divergence", on="listed", ensemble=dict(scale=7.0))
    objective, plain = combine(dict(kl=term)), combine(dict(kl={k: term[k] for k in ("fn", "on")}))

    @jax.jit
    def values(teacher):
        one = losses.ensemble(teacher, where=batch.where, scale=7.0)
        single = batch._replace(teacher=teacher[..., 0])
        return (
            objective(reps, batch._replace(teacher=teacher))[0] - plain(reps, batch._replace(teacher=one))[0],
            objective(reps, single)[0] - objective(reps, batch._replace(teacher=teacher[..., :1]))[0],
        )

    assert values(three) == (0, 0)
    with pytest.raises(InputError, match=r"3 teachers.*add ensemble=dict\(scale=30\)"):
        plain(reps, batch._replace(teacher=three))


def test_running_document_frequencies():
    reps, batch = example()
    memory = dict(fn="jaxir.objectives:running_df", decay=0.6)
    term = dict(fn="jaxir.losses:df_flops", on="docs", columns=(0, 5), memory=memory)
    objective = combine(dict(df=term))
    assert objective.parts is not None
    step = jax.jit(lambda r, memory: objective.apply({}, r, batch, memory=memory))
    held = objective.memory(6)
    assert held["df"]["df"].shape == (5,)
    shares = []
    for i, keep in enumerate((0.0, 0.5, 0.6, 0.6)):  # own, mean of two, then exponential
        values = jax.nn.relu(jax.random.normal(jax.random.key(i), (8, 3, 6)))
        loss, _, held = step(reps._replace(docs=Reps(values)), held)
        share = np.mean(np.asarray(values)[np.asarray(batch.where)][:, :5] > 0, axis=0)
        shares.append(share if i == 0 else keep * shares[-1] + (1 - keep) * share)
        np.testing.assert_allclose(held["df"]["df"], shares[-1], rtol=1e-5)
        expected = losses.df_flops(values[..., :5], df=held["df"]["df"], where=batch.where)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # Called as a plain function it has no past.
    first = objective(reps, batch)[0]
    np.testing.assert_allclose(first, step(reps, objective.memory(6))[0], rtol=1e-6)
    with pytest.raises(InputError, match="decay of running_df"):
        combine(dict(df=term | dict(memory=memory | dict(decay=1.0))))


def test_an_objective_of_scores_has_one_part():
    """Micro-batches then compute nothing twice."""
    assert combine(dict(rank=RANK, kl=dict(fn="jaxir.losses:kl_divergence", on="listed"))).parts is None

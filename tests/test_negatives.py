"""In-batch candidates: masks by id, the four blocks, and equality over the mesh."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxir import losses, negatives
from jaxir.checks import InputError
from jaxir.negatives import BLOCKS

B, G, D = 8, 3, 5
SWITCHES = list(itertools.product([True, False], repeat=2))


def random_batch(seed=0):
    """Repeated documents, a repeated query, known positives, ragged lists and one padding query."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((B, G), np.float32)
    labels[:, 0] = 1
    labels[4, 1] = 2
    where = rng.random((B, G)) < 0.8
    where[:, 0] = True
    where[6] = False
    doc_id = np.arange(B * G, dtype=np.int32).reshape(B, G)
    doc_id[1, 0] = doc_id[0, 0]  # two queries, one positive
    doc_id[3, 2] = doc_id[2, 0]  # a listed negative that is another query's positive
    doc_id[5, 1] = doc_id[5, 0]  # a listed negative equal to the own positive
    query_id = np.arange(B, dtype=np.int32)
    query_id[7] = query_id[0]
    known = np.full((B, 2), -1, np.int32)
    known[0, 0] = doc_id[2, 0]
    known[3, 1] = doc_id[3, 1]
    return {
        "query": rng.normal(size=(B, D)).astype(np.float32),
        "docs": rng.normal(size=(B, G, D)).astype(np.float32),
        "labels": labels,
        "where": where,
        "doc_id": doc_id,
        "query_id": query_id,
        "known": known,
    }


def reference(batch, other_positives=True, other_hard_negatives=True, blocks=("query_doc",)):
    """Rows of {(kind, j, g): score} with the label, written with loops over pairs."""
    q, d = batch["query"].astype(np.float64), batch["docs"].astype(np.float64)
    y, w, ids = batch["labels"], batch["where"], batch["doc_id"]
    qid = batch["query_id"]

    def relevant(i, j, g):
        mine = {ids[i, h] for h in range(G) if y[i, h] > 0 and w[i, h]} | set(batch["known"][i])
        return ids[j, g] in mine or (qid[i] == qid[j] and y[j, g] > 0)

    rows = []
    for i in range(B):
        row = {}
        if not w[i].any():
            rows.append(row)
            continue
        for j in range(B):
            real = w[j].any()
            for g in range(G):
                allowed = i == j or (other_positives if y[j, g] > 0 else other_hard_negatives)
                positive = i == j and y[j, g] > 0
                if "query_doc" in blocks and w[j, g] and allowed and (positive or not relevant(i, j, g)):
                    row["query_doc", j, g] = (q[i] @ d[j, g], y[j, g] if i == j else 0.0)
                if "doc_doc" in blocks and i != j and w[j, g] and not relevant(i, j, g):
                    row["doc_doc", j, g] = (d[i, 0] @ d[j, g], 0.0)
            if "doc_query" in blocks and real and (i == j or not relevant(j, i, 0)):
                row["doc_query", j, 0] = (d[i, 0] @ q[j], 0.0)
            if "query_query" in blocks and real and i != j and qid[i] != qid[j]:
                row["query_query", j, 0] = (q[i] @ q[j], 0.0)
        rows.append(row)
    return rows


def as_jax(batch):
    return {k: jnp.asarray(v) for k, v in batch.items()}


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("blocks", [("query_doc",), BLOCKS, ("query_doc", "doc_doc")])
def test_candidates_equal_a_loop_over_pairs(switches, blocks):
    batch = random_batch()
    options = dict(zip(("other_positives", "other_hard_negatives"), switches), blocks=blocks)
    scores, labels, where = map(np.asarray, negatives.in_batch(**as_jax(batch), **options))
    for i, row in enumerate(reference(batch, **options)):
        got = sorted(zip(scores[i][where[i]].tolist(), labels[i][where[i]].tolist()))
        np.testing.assert_allclose(got or 0, sorted(row.values()) or 0, rtol=1e-4, atol=1e-5)


def test_masking_a_column_is_deleting_it():
    batch = as_jax(random_batch())
    full = losses.softmax(*negatives.in_batch(**batch)[:2], where=negatives.in_batch(**batch).where)
    del batch["doc_id"], batch["known"], batch["query_id"]
    fewer = negatives.in_batch(**batch)
    assert losses.softmax(fewer.scores, fewer.labels, where=fewer.where) > full


def test_a_positive_is_never_masked_and_without_negatives_the_loss_is_zero():
    q = jax.random.normal(jax.random.key(0), (4, D))
    same = jnp.zeros((4, 1), jnp.int32)  # all documents are one document
    c = negatives.in_batch(q, q, doc_id=same)
    assert (c.where == jnp.eye(4, dtype=bool)).all()
    assert losses.softmax(c.scores, c.labels, where=c.where) == 0


def test_default_labels_and_one_document_each():
    q = jnp.eye(4)
    c = negatives.in_batch(q, q)
    assert (c.labels == jnp.eye(4)).all()
    np.testing.assert_allclose(
        losses.softmax(c.scores, c.labels, where=c.where), np.log1p(3 * np.exp(-1)), rtol=1e-6
    )


@pytest.mark.parametrize("n", [1, 2, 6])
def test_four_block_closed_forms(n):
    """log(4N - 2) for equal vectors, log(2 + 4(N-1) e^(-1/tau)) for orthonormal: never below log 2."""

    def improved(x, tau):
        c = negatives.in_batch(x, x, blocks=BLOCKS)
        return losses.softmax(c.scores, c.labels, where=c.where, temperature=tau)

    np.testing.assert_allclose(improved(jnp.ones((n, D)), 1.0), np.log(4 * n - 2), rtol=1e-6)
    expected = np.log(2 + 4 * (n - 1) * np.exp(-1 / 0.1))
    np.testing.assert_allclose(improved(jnp.eye(n, 8), 0.1), expected, rtol=1e-5)


def test_four_block_is_at_least_the_one_block_loss():
    q, d = jax.random.normal(jax.random.key(1), (2, 6, D))
    one, four = negatives.in_batch(q, d), negatives.in_batch(q, d, blocks=BLOCKS)
    assert losses.softmax(four.scores, four.labels, where=four.where) > losses.softmax(*one[:2])


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("options", [{}, {"blocks": BLOCKS}, {"other_positives": False}], ids=str)
def test_the_global_batch_whatever_the_number_of_devices(devices, options):
    batch = as_jax(random_batch())
    parts = {"query": batch.pop("query"), "docs": batch.pop("docs")}

    def loss(parts, batch, axis_name=None):
        c = negatives.in_batch(**parts, **batch, **options, axis_name=axis_name)
        return losses.softmax(c.scores, c.labels, where=c.where, temperature=0.5, axis_name=axis_name)

    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))

    def sharded(parts):
        f = lambda p, b: loss(p, b, "data")
        return jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P())(parts, batch)

    value, gradient = jax.jit(jax.value_and_grad(sharded))(parts)
    one, one_gradient = jax.jit(jax.value_and_grad(loss))(parts, batch)
    np.testing.assert_allclose(value, one, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), gradient, one_gradient)


def test_under_vmap_and_pmap_with_an_axis_name():
    batch = as_jax(random_batch())

    def loss(batch, axis_name=None):
        c = negatives.in_batch(**batch, axis_name=axis_name)
        return losses.softmax(c.scores, c.labels, where=c.where, axis_name=axis_name)

    shards = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch)
    f = lambda b: loss(b, "data")
    np.testing.assert_allclose(jax.vmap(f, axis_name="data")(shards), loss(batch), rtol=1e-5)
    np.testing.assert_allclose(jax.pmap(f, axis_name="data")(shards), loss(batch), rtol=1e-5)
    # The gradient is taken outside; inside, it would be the number of shards times too large.
    outside = jax.grad(lambda b, rest: jax.vmap(f, axis_name="data")({**rest, "docs": b})[0])
    rest = {k: v for k, v in shards.items() if k != "docs"}
    one = jax.grad(lambda d: loss({**batch, "docs": d}))(batch["docs"])
    np.testing.assert_allclose(outside(shards["docs"], rest).reshape(one.shape), one, rtol=1e-5, atol=1e-6)


def test_bfloat16_representations_are_scored_in_float32():
    q = jax.random.normal(jax.random.key(0), (4, 64), jnp.bfloat16)
    c = negatives.in_batch(q, q)
    assert c.scores.dtype == jnp.float32
    exact = np.asarray(q, np.float64) @ np.asarray(q, np.float64).T
    np.testing.assert_allclose(c.scores, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": ("query_docs",)}, "Did you mean 'query_doc'"),
        ({"known": jnp.zeros((2, 1), jnp.int32)}, "without doc_id"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(InputError, match=message):
        negatives.in_batch(jnp.ones((2, 3)), jnp.ones((2, 3)), **change)

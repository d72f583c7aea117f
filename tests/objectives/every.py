"""Every public loss and regulariser as a term of one objective, and every wrapper of objectives.

For tests over meshes and processes. A new public name of jaxir.losses without a term here fails
``test_every_public_loss_is_a_term``, a new wrapper ``test_every_public_wrapper_is_nested_here``.
"""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxir import losses, objectives, scoring
from jaxir.config import bind
from jaxir.losses.contrastive import OF_SUMS
from jaxir.negatives import BLOCKS, MODES
from jaxir.types import Reps

from ..training import toy

FORMS = dict(zip(sorted(loss.__name__ for loss in OF_SUMS), itertools.cycle(MODES)))

TERMS = {
    **{
        name: dict(
            fn=f"jaxir.losses:{name}",
            on="in_batch",
            temperature=dict(init=0.2),
            weight=0.7,
            negatives=dict(mode=mode),
        )
        for name, mode in FORMS.items()
    },
    "ring": dict(
        fn="jaxir.losses:symmetric_softmax",
        temperature=0.3,
        weight=0.3,
        negatives=dict(mode="ring", tile=5, blocks=BLOCKS, other_hard_negatives=False),
    ),
    "listed": dict(fn="jaxir.losses:softmax", on="listed", temperature=0.5, weight=0.2),
    "margin_mse": dict(fn="jaxir.losses:margin_mse", on="listed", weight=0.1),
    "kl_divergence": dict(fn="jaxir.losses:kl_divergence", on="listed", weight=0.4),
    "policy": dict(
        fn="jaxir.losses:pl_policy_gradient", on="listed", samples=3, cutoff=2, temperature=0.3, weight=0.5
    ),
    "sparsemax_loss": dict(fn="jaxir.losses:sparsemax_loss", on="in_batch", temperature=0.4, weight=0.5),
    "ensemble": dict(
        fn="jaxir.losses:kl_divergence", on="listed", ensemble=dict(scale=5.0), columns=(3, 40), weight=0.2
    ),
    "flops": dict(
        fn="jaxir.losses:flops",
        on="docs",
        weight=dict(fn="jaxir.losses:quadratic_ramp", peak=0.1, steps=4),
    ),
    "l1": dict(
        fn="jaxir.losses:l1", on="query", weight=dict(fn="jaxir.losses:linear_ramp", peak=0.1, steps=4)
    ),
    "anti_zero": dict(fn="jaxir.losses:anti_zero", on="query", weight=3.0),
    "l0_mask": dict(
        fn="jaxir.losses:l0_mask_flops", on="docs", threshold=20, columns=(20, 60), weight=0.3,
        groups="sum_over_slots",
    ),
    "expected": dict(fn="jaxir.losses:expected_flops", on="docs", weight=0.0),
    "idf": dict(fn="jaxir.losses:idf_flops", on="docs", weight=0.2, groups="mean_over_slots"),
    "idf_match": dict(fn="jaxir.losses:idf_match_flops", on="docs", weight=0.2),
    "df": dict(
        fn="jaxir.losses:df_flops", on="docs", alpha=0.4, beta=2.0, weight=0.9,
        memory=dict(fn="jaxir.objectives:running_df", decay=0.9),
    ),
}  # fmt: skip
# Those that all end in the same reduction over lists: on one mesh only, their programs cost seconds.
LISTED = {
    name: dict(fn=f"jaxir.losses:{name}", on="listed", weight=0.3, **options)
    for name, options in {
        "approx_ndcg": dict(temperature=0.5, samples=2),
        "approx_mrr": dict(ranks="bound"),
        "list_mle": {},
        "weighted_ranknet": dict(over_pairs="sum"),
        "ranklist": {},
        "groco": {},
        "soft_topk_loss": dict(k=1),
        "rank_aware_nll": {},
        "robust_softmax": {},
        "log_cosh": {},
        "in_batch_margin_mse": {},
        "ranking_accuracy": {},
        "wasserstein": {},
        "wasserstein_1d": {},
    }.items()
}
# What terms take and no config can hold.
ARRAYS = {"idf": np.linspace(0.5, 4, toy.DIM, dtype=np.float32)}
# Not losses but parts of them.
PARTS = {
    *("approx_ranks", "bound_ranks", "gumbel_scores", "soft_topk", "token_ranks"),
    *("df_weight", "ensemble", "sparsemax"),
}

LAYERS = 3
SIZES = ((1, 16), (3, toy.DIM))
# Wrapper, its arguments, and the form of the negatives of the objective that it wraps; 2D has no memory.
WRAPPERS = "jaxir.objectives"
NESTED = {
    "matryoshka": (dict(fn=f"{WRAPPERS}:matryoshka", dims=(16, toy.DIM)), "tiled", ["flops", "df"]),
    "2d": (dict(fn=f"{WRAPPERS}:matryoshka_2d", dims=(16, toy.DIM), reading="joint"), "dense", ["flops"]),
    "starbucks": (dict(fn=f"{WRAPPERS}:starbucks", sizes=SIZES), "ring", ["flops", "df"]),
    "coordinates": (dict(fn=f"{WRAPPERS}:starbucks", sizes=SIZES, kl="coordinates"), "dense", ["df"]),
}


def nested(name):
    """The objective, for the encoder of :func:`layered`."""
    wrapper, mode, regularisers = NESTED[name]
    terms = dict(rank=TERMS["softmax"] | dict(negatives=dict(mode=mode, tile=5)))
    terms |= {r: TERMS[r] for r in regularisers}
    return bind(wrapper)(objectives.combine(terms), encoder=layered())


def unnested() -> set[str]:
    """Public wrappers that NESTED does not have: functions of an objective and its encoder."""
    wrappers = {
        name
        for name in objectives.__all__
        if {"objective", "encoder"} <= set(inspect.signature(getattr(objectives, name)).parameters)
    }
    return wrappers - {wrapper["fn"].partition(":")[2] for wrapper, _, _ in NESTED.values()}


def layered():
    """The toy with three cheap layers on top."""
    plain = toy.encoder()

    def init(key):
        return {**plain.init(key), "mix": jnp.linspace(0.5, 1.5, LAYERS * toy.DIM).reshape(LAYERS, toy.DIM)}

    def encode(params, tokens, *, side, layers=None, key=None):
        x, found = plain.encode(params, tokens, side=side).values, []
        for mix in params["mix"]:
            x = scoring.normalize(x * mix + 0.3 * jnp.roll(x, 1, axis=-1))
            found.append(Reps(x))
        return found[-1] if layers is None else tuple(found[n - 1] for n in layers)

    return plain._replace(init=init, encode=encode, layers=LAYERS)


def named() -> set[str]:
    """The public names of jaxir.losses that the terms use."""
    found = {term["fn"] for term in (TERMS | LISTED).values()}
    found |= {term["weight"]["fn"] for term in TERMS.values() if isinstance(term["weight"], dict)}
    return {name.partition(":")[2] for name in found}


def missing() -> set[str]:
    return set(losses.__all__) - named() - PARTS


def encoder():
    """The toy's representations, made sparse."""
    plain = toy.encoder()

    def encode(*arguments, **how):
        return Reps(jax.nn.relu(plain.encode(*arguments, **how).values))

    return plain._replace(encode=encode)


def batch(number=3):
    """Uneven lists, two rows of padding, repeated documents and teacher scores."""
    made = toy.batch(number, b=16, n=3)
    where = made.where.copy()
    where[[5, 11]] = False
    teacher = np.random.default_rng(0).normal(size=where.shape).astype(np.float32)
    known = np.where(np.arange(16)[:, None] % 4 == 0, made.doc_id[::-1, :1], -1)
    return made._replace(where=where, teacher=teacher, known=known)

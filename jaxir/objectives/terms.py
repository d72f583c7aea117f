"""One term of an objective: what its config says, checked before anything slow begins."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxir import negatives, scoring
from jaxir.checks import InputError, check_known, check_positive
from jaxir.config import Allow, accepts, bind, check_keywords, is_spec
from jaxir.losses.contrastive import OF_SUMS
from jaxir.losses.distillation import ensemble
from jaxir.objectives.memory import Memory
from jaxir.types import Array

ON = ("in_batch", "listed", "query", "docs")
OF_REPS = ("query", "docs")
SCORES = {"dot": scoring.dot, "cosine": scoring.cosine}
# What a term's spec may say besides its function's own arguments.
KEYS = ("fn", "on", "weight", "temperature", "score", "labels", "negatives", "columns", "ensemble", "memory")
LABELS = ("data", "teacher")


class Term(NamedTuple):
    name: str
    fn: Callable[..., Array]
    on: str
    weight: Callable[[Array | int], Array] | float
    temperature: float | None
    learned: dict[str, float] | None  # init and floor of a learnable temperature
    score: Callable[..., Array]
    labels: str  # "teacher": its scores stand for the labels
    negatives: dict[str, Any]
    mode: str | None  # of the negatives; None = by size
    tile: int
    columns: tuple[int, int | None]  # of the representations; None = to the end
    ensemble: dict[str, Any] | None  # how several teachers' scores become one's
    memory: Memory | None
    arrays: dict[str, Any]  # of those given to the objective, what fn takes

    def sees(self, values: Array) -> Array:
        """Its columns of the representations."""
        start, stop = self.columns
        self.width(values.shape[-1])
        return values if self.columns == (0, None) else values[..., start:stop]

    def width(self, dim: int) -> int:
        """How many columns it sees of ``dim``.

        Raises:
          InputError: they are fewer than it is to see.
        """
        start, stop = self.columns
        if start >= dim or (stop or 0) > dim:
            raise InputError(
                f"term {self.name!r} has columns=({start}, {stop}), and the encoder's representations have "
                f"{dim} columns"
            )
        return (stop or dim) - start


def parse(name: str, spec: Mapping[str, Any], arrays: Mapping[str, Any], allow: Allow) -> Term:
    """The term of a ``dict(fn=..., on=..., ...)``.

    Raises:
      InputError: no ``fn``, an unknown word, something that does not go with something else, or an argument
        that the function needs and nobody gives.
    """
    if not is_spec(spec):
        raise InputError(f"term {name!r} of the objective has no 'fn' that says what to call")
    fn = bind({k: v for k, v in spec.items() if k == "fn" or k not in KEYS}, allow=allow)
    on = spec.get("on", "in_batch")
    check_known(f"'on' of term {name!r}", on, ON)
    score = spec.get("score", "dot")
    check_known(f"score of term {name!r}", score, SCORES)
    labels = spec.get("labels", "data")
    check_known(f"labels of term {name!r}", labels, LABELS)
    if labels == "teacher" and (on != "listed" or accepts(fn, "teacher")):
        raise InputError(
            f"term {name!r} has labels='teacher', which is on='listed' and for losses of labels alone"
        )
    options = dict(spec.get("negatives") or {})
    mode, tile = options.pop("mode", None), options.pop("tile", None) or negatives.TILE
    if (options or mode) and on != "in_batch":
        raise InputError(f"term {name!r} is on {on!r}, and 'negatives' is only for on='in_batch'")
    check_keywords(negatives.in_batch, options, f"negatives of term {name!r}")
    mode = _mode(name, fn, mode)
    weight = spec.get("weight", 1.0)
    weight = bind(weight, allow=allow)() if is_spec(weight) else weight
    temperature, learned = _temperature(name, spec.get("temperature"))
    together = spec.get("ensemble")
    if together is not None:
        if on != "listed" or not (accepts(fn, "teacher") or labels == "teacher"):
            raise InputError(f"term {name!r} has an 'ensemble', which is for losses of a teacher on='listed'")
        check_keywords(ensemble, together, f"ensemble of term {name!r}")
        check_positive(f"scale of the ensemble of term {name!r}", together.get("scale", 1))
    memory = spec.get("memory")
    if memory is not None:
        memory = bind(memory, allow=allow)()
        if on not in OF_REPS:
            raise InputError(f"term {name!r} has a 'memory', which is for on='query' and on='docs'")
    mine = {k: x for k, x in arrays.items() if _names(fn, k) and k not in spec}
    _check_complete(name, fn, on, {*mine, *(memory.init(1) if memory else ())})
    return Term(
        name=name,
        fn=fn,
        on=on,
        weight=weight,
        temperature=temperature,
        learned=learned,
        score=SCORES[score],
        labels=labels,
        negatives=options,
        mode=mode,
        tile=tile,
        columns=_columns(name, spec.get("columns")),
        ensemble=None if together is None else dict(together),
        memory=memory,
        arrays=mine,
    )


def learnable(log_temperature: Array, *, init: float, min: float) -> Array:
    """exp of the learned logarithm, kept above ``min``: a temperature that reaches 0 is a NaN."""
    del init
    return jnp.maximum(jnp.exp(log_temperature), min)


def _temperature(name: str, given: Any) -> tuple[float | None, dict[str, float] | None]:
    """(a fixed one, what to learn one from)."""
    if isinstance(given, Mapping):
        learned = {"init": 0.05, "min": 0.01, **given}
        check_keywords(learnable, learned, f"temperature of term {name!r}")
        check_positive(f"temperature's init of term {name!r}", learned["init"])
        return None, learned
    if given is not None:
        check_positive(f"temperature of term {name!r}", given)
    return given, None


def _mode(name: str, fn: functools.partial, mode: str | None) -> str | None:
    """The form of the negatives, "dense" for a loss that needs every score by itself."""
    if mode is not None:
        check_known(f"mode of the negatives of term {name!r}", mode, negatives.MODES)
    of_sums = fn.func in OF_SUMS and not fn.keywords.get("label_smoothing")
    if of_sums or mode == "dense":
        return mode
    if mode is not None:
        names = " and ".join(sorted(loss.__name__ for loss in OF_SUMS))
        raise InputError(
            f"term {name!r} has negatives of mode {mode!r}, which are for losses that sum over them: {names} "
            "without label_smoothing. Use mode='dense'"
        )
    return "dense"


def _columns(name: str, given: Any) -> tuple[int, int | None]:
    if given is None:
        return 0, None
    pair = isinstance(given, (list, tuple)) and len(given) == 2
    if not pair or type(given[0]) is not int or not (given[1] is None or type(given[1]) is int):
        raise InputError(
            f"columns of term {name!r} are {given!r}, expected two whole numbers (start, stop); a stop "
            "of None is the end"
        )
    start, stop = given
    if not 0 <= start < (start + 1 if stop is None else stop):
        raise InputError(f"columns of term {name!r} are ({start}, {stop}), expected 0 <= start < stop")
    return start, stop


def _names(fn: Callable[..., Any], argument: str) -> bool:
    """Whether the function has an argument of this very name (not merely ``**anything``)."""
    return argument in inspect.signature(fn).parameters


def _check_complete(name: str, fn: Callable[..., Any], on: str, given: set[str]) -> None:
    """Raises for an argument without a default that the objective does not give."""
    own = {"where", "axis_name", "reduce_fn", "key", "teacher"}
    first = 1 if on in OF_REPS else 2  # the representations; scores and labels
    for i, p in enumerate(inspect.signature(fn).parameters.values()):
        needed = p.default is p.empty and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        if i >= first and needed and p.name not in own | given:
            raise InputError(
                f"the function of term {name!r} needs {p.name!r}, which the term does not give: set it, give "
                f"combine(..., arrays={{{p.name!r}: ...}}), or name a memory that keeps it "
                "(memory=dict(fn='jaxir.objectives:running_df') keeps 'df')"
            )

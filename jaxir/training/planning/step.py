"""A config's training step for a described machine: shapes only, nothing is allocated or read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxir.checks import InputError
from jaxir.data import tokenizer as tokenizers
from jaxir.data.padding import step_of
from jaxir.objectives import Objective
from jaxir.training.assemble import assemble
from jaxir.training.build import adapted, build_encoder, build_objective, negatives_of
from jaxir.training.mesh import batch_sharding, check_batch_size, check_mesh, make_mesh
from jaxir.training.planning.topology import Machine
from jaxir.training.sizes import describe, encode_chunk
from jaxir.training.step import State
from jaxir.types import Batch, Encoder, Tokens

Config = Mapping[str, Any]


class Step(NamedTuple):
    """What ``jaxir train`` would run: ``step(state, batch)`` for arrays of these shapes and places."""

    step: Callable[..., Any]
    state: State
    batch: Batch
    mesh: Mesh
    encoder: Encoder  # as it encodes without chunks
    objective: Objective
    notes: list[str]  # on what the sizes decide


def describe_step(config: Config, machine: Machine) -> Step:
    """The step of ``config`` on ``machine``.

    The texts of a batch are as long as ``max_length`` allows, which is the most that a step can need.

    Raises:
      InputError: a batch or mesh that does not fit the machine; what the config's parts refuse.
    """
    check_mesh(config["mesh"])
    mesh = make_mesh(config["mesh"]["data"], config["mesh"]["fsdp"], devices=machine.devices)
    check_batch_size(config["batch_size"], mesh, accumulate=config["accumulate"])
    words = vocabulary(config)
    encoder = adapted(build_encoder(config, words), config)
    objective = build_objective(config, encoder, arrays={"idf": np.ones(words, np.float32)})
    memory = machine.chip.memory if machine.chip else None
    chunk = encode_chunk(config, encoder, mesh.size, memory=memory)
    parts = assemble(config, encoder, objective, mesh, chunk=chunk)
    notes = describe(config, encoder, mesh.size, chunk)
    return Step(parts.step, parts.state, batch_shapes(config, mesh), mesh, encoder, objective, notes)


def vocabulary(config: Config) -> int:
    """The vocabulary's size as the config tells it, without reading the data that it will be made from."""
    if config.get("teacher"):
        raise InputError(
            f"a plan reads no weights, and teacher={config['teacher']!r} is made of them: plan without it"
        )
    if config.get("init_from") and config["encoder"].get("vocab_size") is None:
        raise InputError(
            f"the encoder is that of init_from={config['init_from']!r}, and a plan reads no weights: give "
            "a config whose encoder says the sizes (configs/pod.py is one of BERT-base), without init_from"
        )
    options = config["tokenizer"]
    if config["encoder"].get("vocab_size") is not None:
        return config["encoder"]["vocab_size"]
    if options.get("path"):
        return tokenizers.load(options["path"]).vocab_size
    return options["vocab_size"]


def batch_shapes(config: Config, mesh: Mesh) -> Batch:
    """The global batch, its rows over all devices of ``mesh``."""
    b, n, place = config["batch_size"], 1 + config["data"]["listed"], batch_sharding(mesh)

    def rows(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((b, *shape), dtype, sharding=place)

    lq, ld = (step_of(config["max_length"][side], config["ladder"]) for side in ("query", "doc"))
    return Batch(
        query=Tokens(rows(jnp.int32, lq), rows(jnp.bool, lq)),
        docs=Tokens(rows(jnp.int32, n, ld), rows(jnp.bool, n, ld)),
        labels=rows(jnp.float32, n),
        where=rows(jnp.bool, n),
        teacher=rows(jnp.float32, n) if negatives_of(config) else None,
        query_id=rows(jnp.int32),
        doc_id=rows(jnp.int32, n),
        known=rows(jnp.int32, 1),
    )

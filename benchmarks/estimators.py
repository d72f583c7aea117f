"""How far single estimates of a policy gradient are off, on a real batch.

  python benchmarks/estimators.py --workdir=runs/pg [--draws=500] [--samples=16]

--workdir is a run of configs/policy_gradient.py (or of any config with a term pl_policy_gradient): its first
batch, encoded by its weights, gives the scores. Each estimator makes --draws estimates of the gradient for
the scores. Printed is the variance: the mean squared distance from the mean of all estimates, summed over a
list's items, averaged over lists; and it over that of reinforce. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import functools
import json

import numpy as np
import shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    cores = shared.pin(options.cores, options.device)
    import jax

    from jaxir.losses.estimators import ESTIMATORS
    from jaxir.losses.plackett_luce import sample_rankings
    from jaxir.losses.policy_gradient import estimate

    scores, labels, where, cutoff = first_batch(options.workdir)

    @functools.partial(jax.jit, static_argnames="name")
    def draw(key: jax.Array, name: str) -> jax.Array:
        rankings = sample_rankings(key, scores, options.samples, places=cutoff, where=where)
        return estimate(scores, labels, rankings, cutoff=cutoff, estimator=name, where=where)[0]

    keys = jax.random.split(jax.random.key(0), options.draws)
    found = {name: np.stack([np.asarray(draw(key, name)) for key in keys]) for name in ESTIMATORS}
    exact = np.mean([values.mean(axis=0) for values in found.values()], axis=0)
    variance = {name: float(np.square(values - exact).sum(-1).mean()) for name, values in found.items()}
    lists = f"{len(scores)} lists of {where.sum(1).mean():.1f} candidates"
    print(f"{lists}, nDCG@{cutoff}, {options.samples} samples")
    print(f"squared length of the gradient: {np.square(exact).sum(-1).mean():.3e}")
    for name, value in sorted(variance.items(), key=lambda item: -item[1]):
        print(f"  {name:14} variance {value:.3e}  {value / variance['reinforce']:.3f} of reinforce")
    print(json.dumps({"benchmark": "estimators", **shared.machine(cores), "variance": variance}))


def first_batch(workdir: str):
    """Scores over the temperature, labels and mask of the run's first batch, and the term's cutoff."""
    import pathlib

    import jax
    import jax.numpy as jnp

    from jaxir import scoring
    from jaxir.files import read_json
    from jaxir.training.build import build_data, build_feed
    from jaxir.training.checkpoint import load_model
    from jaxir.training.gradients import encode_batch

    config = read_json(pathlib.Path(workdir) / "config.json")
    term = next(t for t in config["objective"].values() if t["fn"].endswith(":pl_policy_gradient"))
    model = load_model(workdir, step="latest")
    data = build_data(config, workdir, progress=False)
    batch = build_feed(config, data, model.tokenizer)[0]
    reps = jax.jit(lambda params, batch: encode_batch(model.encoder, params, batch))(model.params, batch)
    scores = scoring.listed(reps.query.values, reps.docs.values) / (term.get("temperature") or 1.0)
    return scores, jnp.asarray(batch.labels), jnp.asarray(batch.where), term["cutoff"]


if __name__ == "__main__":
    main()

"""What whole runs of training read: a collection, and published weights to begin from."""

import json
import random

import pytest


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A small collection in BEIR layout: 60 documents of made-up words."""
    folder = tmp_path_factory.mktemp("texts")
    rng = random.Random(0)
    words = [a + b for a in ("ba", "do", "ki", "lu", "me") for b in ("ra", "so", "ti", "vu")]
    (folder / "qrels").mkdir()
    docs = [" ".join(rng.choices(words, k=20)) for _ in range(60)]
    with (folder / "corpus.jsonl").open("w") as f:
        f.writelines(json.dumps({"_id": f"d{i}", "title": "", "text": t}) + "\n" for i, t in enumerate(docs))
    with (folder / "queries.jsonl").open("w") as f:
        f.writelines(
            json.dumps({"_id": f"q{i}", "text": " ".join(t.split()[3:8])}) + "\n" for i, t in enumerate(docs)
        )
    for split, rows in (("train", range(40)), ("dev", range(40, 60))):
        lines = ["query-id\tcorpus-id\tscore"] + [f"q{i}\td{i}\t1" for i in rows]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A static encoder with random weights, as jaxir exports it: its training step compiles in no time."""
    from jaxir.models import pretrained
    from tests.models.pretrained import folders

    folder = tmp_path_factory.mktemp("published") / "static"
    spec = dict(fn="jaxir.models.static:static", vocab_size=80, dim=16, projection=8)
    prompts = dict(query="ask: ", doc="")
    tokenizer = folders.tiny_tokenizer()
    pretrained.export(
        folder, spec, folders.random_params(spec), tokenizer, to="jaxir", prompts=prompts, max_length=24
    )
    return folder


@pytest.fixture(scope="session")
def published_bert(tmp_path_factory):
    """A sentence-transformers folder of a tiny BERT with random weights."""
    from tests.models.pretrained import folders

    folder = tmp_path_factory.mktemp("published") / "bert"
    folders.write(folder, pooling="mean", normalize=True)
    return folder

"""Semantic textual similarity: how well the cosine of two sentences' vectors orders pairs as people do.

A set is a tsv file with the columns score, sentence1, sentence2 (STS Benchmark, SICK-R, STS 2012 to 2016).
The figure of the field is Spearman's rank correlation between gold score and cosine (Reimers et al.,
Task-Oriented Intrinsic Evaluation of Semantic Textual Similarity, COLING 2016).
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.sparse import issparse

from jaxir.checks import InputError
from jaxir.evaluation.qrels import lines
from jaxir.files import PathLike

COLUMNS = ("score", "sentence1", "sentence2")
FORMAT = f"expected tsv with three columns, {', '.join(COLUMNS)}, with tabs between them"


class StsSet(NamedTuple):
    """Pairs of sentences with people's judgement of how similar they are, on any scale."""

    name: str  # folder/stem of the file
    gold: Float[np.ndarray, " n"]
    first: list[str]
    second: list[str]
    path: pathlib.Path


def read_sts(path: PathLike) -> StsSet:
    """Reads a set, plain or .gz, with a header or without.

    Raises:
      InputError: missing, not text, a line with other columns, a score that is no number, an empty sentence
        (with the line's number), fewer than two pairs, or one score for all.
    """
    path = pathlib.Path(path)
    gold: list[float] = []
    first: list[str] = []
    second: list[str] = []
    for number, line in lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        if not gold and tuple(cell.lower() for cell in cells) == COLUMNS:
            continue
        where = f"{path}, line {number}"
        if len(cells) != 3 or not all(cells):
            raise InputError(f"{where}: {line[:80]!r}: {FORMAT}")
        score = _number(cells[0])
        if score is None:
            raise InputError(f"{where}: the score is {cells[0][:40]!r}, expected a number; {FORMAT}")
        gold.append(score)
        first.append(cells[1])
        second.append(cells[2])
    if len(gold) < 2:
        raise InputError(f"{path} holds {len(gold)} pairs, a correlation needs at least 2; {FORMAT}")
    if min(gold) == max(gold):
        raise InputError(
            f"{path} gives all its {len(gold)} pairs the score {gold[0]:g}: nothing to correlate"
        )
    # Of "a.tsv" the folder is where it lies, not ".".
    name = f"{path.absolute().parent.name}/{path.name.removesuffix('.gz').removesuffix('.tsv')}"
    return StsSet(name, np.array(gold), first, second, path)


def find_sts(given: Sequence[PathLike]) -> list[pathlib.Path]:
    """The files that are meant: a file is itself, a directory its test.tsv and those of its folders.

    Raises:
      InputError: there is none, or one is named twice.
    """
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, given):
        if path.is_dir():
            inside = [path / "test.tsv", *sorted(path.glob("*/test.tsv"))]
            files = [file for file in inside if file.is_file()]
            if not files:
                raise InputError(
                    f"{path} has no test.tsv, nor has a folder in it; name the files: --sts=FILE.tsv"
                )
            found += files
        else:
            found.append(path)
    places = [path.resolve() for path in found]
    for number, path in enumerate(found):
        if places[number] in places[:number]:
            raise InputError(f"{path} is given twice")
    return found


def sts_figures(vectors1: Any, vectors2: Any, gold: Float[np.ndarray, " n"]) -> dict[str, float]:
    """``{"spearman", "pearson"}`` between gold scores and the cosines of two rows of vectors.

    Tied values get the average of their ranks.

    >>> first, second = np.array([[1.0, 0]] * 3), np.array([[1.0, 0], [1, 1], [0, 1]])
    >>> {name: round(x, 3) for name, x in sts_figures(first, second, np.array([5.0, 3, 0])).items()}
    {'spearman': 1.0, 'pearson': 0.993}

    Args:
      vectors1, vectors2: [n, d], arrays or sparse rows.

    Raises:
      InputError: a vector that is not finite, or one similarity, or one score, for all pairs.
    """
    cosines = cosine(vectors1, vectors2)
    if len(gold) < 2 or gold.min() == gold.max():
        raise InputError(f"all {len(gold)} pairs have the same score: nothing to correlate")
    if cosines.min() == cosines.max():
        raise InputError(
            f"the encoder gives all {len(gold)} pairs the cosine {cosines[0]:g}: nothing to correlate; "
            "jaxir doctor looks for collapsed vectors"
        )
    return {
        "spearman": float(stats.spearmanr(cosines, gold).statistic),
        "pearson": float(stats.pearsonr(cosines, gold).statistic),
    }


def cosine(vectors1: Any, vectors2: Any) -> Float[np.ndarray, " n"]:
    """The cosine of each row with its partner: [n], computed in float64; 0 where a row is empty.

    Rounded to float32, so that pairs of the same two vectors tie.

    Raises:
      InputError: other shapes, or a vector that is not finite.
    """
    if vectors1.shape != vectors2.shape:
        raise InputError(f"the vectors have shapes {vectors1.shape} and {vectors2.shape}: expected pairs")
    rows1, rows2 = (x.astype(np.float64) for x in (vectors1, vectors2))

    def dot(x: Any, y: Any) -> np.ndarray:
        return x.multiply(y).sum(axis=1) if issparse(x) else np.einsum("nd,nd->n", x, y)

    length = np.sqrt(dot(rows1, rows1) * dot(rows2, rows2))
    if not np.isfinite(length).all():
        row = int(np.flatnonzero(~np.isfinite(length))[0])
        raise InputError(f"a vector of pair {row} has NaN or infinity: jaxir doctor says more of the model")
    return (dot(rows1, rows2) / np.where(length > 0, length, 1)).astype(np.float32)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

"""Terms -> one objective, and wrappers around an objective."""

from jaxir.objectives.active import count_active
from jaxir.objectives.chunked import chunked
from jaxir.objectives.combine import combine
from jaxir.objectives.matryoshka import matryoshka
from jaxir.objectives.matryoshka_2d import matryoshka_2d
from jaxir.objectives.memory import Memory, running_df
from jaxir.objectives.objective import Objective
from jaxir.objectives.starbucks import starbucks

__all__ = [
    "Memory",
    "Objective",
    "chunked",
    "combine",
    "count_active",
    "matryoshka",
    "matryoshka_2d",
    "running_df",
    "starbucks",
]

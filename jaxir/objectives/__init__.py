"""Terms -> one objective, and wrappers around an objective."""

from jaxir.objectives.active import count_active
from jaxir.objectives.chunked import chunked
from jaxir.objectives.combine import combine
from jaxir.objectives.memory import Memory, running_df
from jaxir.objectives.objective import Objective

__all__ = ["Memory", "Objective", "chunked", "combine", "count_active", "running_df"]

"""Terms -> one objective, and wrappers around an objective."""

from jaxir.objectives.combine import Objective, combine

__all__ = ["Objective", "combine"]

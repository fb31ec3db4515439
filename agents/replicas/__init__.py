"""Several agents of one kind as one: load is shared among them, and what one loses another answers."""

from aiflow.agents.replicas.role import Role as Role

__all__ = ["Role"]

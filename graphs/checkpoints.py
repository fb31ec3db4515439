"""Checkpoints in an SQLite file, for ``invoke`` and ``ainvoke`` alike.

LangGraph's own savers serve one of the two each. A process killed between two steps goes on from the last finished one
by ``graph.invoke(None, config)``. Pass ``durability="sync"`` to ``invoke`` if no step may start before the last one is
on disk; LangGraph's default writes while the next step begins.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver

from aiflow.errors import UsageError

BUSY = 30.0  # seconds to wait for another process that writes


class SqliteCheckpoints(SqliteSaver):  # type: ignore[misc]  # pyproject leaves this library unchecked
    """``SqliteSaver`` with its async methods: the same calls in a thread. Safe across threads and event loops."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that ``config`` names."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """The checkpoints of a thread, newest first."""
        for found in await asyncio.to_thread(lambda: [*self.list(config, filter=filter, before=before, limit=limit)]):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keeps a checkpoint."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keeps what a task wrote."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Forgets a thread."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    def close(self) -> None:
        """Closes the file."""
        self.conn.close()


def sqlite(path: str | Path) -> SqliteCheckpoints:
    """A checkpoint saver in the file ``path``, made where it is missing. Survives SIGKILL at any time.

    A power cut may cost the last steps, not the file (``synchronous=NORMAL``: 1 ms a step, where FULL takes 6).
    """
    try:
        conn = sqlite3.connect(path, timeout=BUSY, check_same_thread=False)
        conn.execute("PRAGMA synchronous=NORMAL")
        saver = SqliteCheckpoints(conn)
        saver.setup()
    except (sqlite3.Error, TypeError) as error:
        raise UsageError(f"no checkpoints in {str(path)!r} ({error}); name a file in a folder that exists.") from error
    return saver

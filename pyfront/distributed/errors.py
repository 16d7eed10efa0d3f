"""Errors of processes that work together: of their network, of their stores, of what one of them did."""

from __future__ import annotations

from ...dialects.errors import LaminaError


class DistError(LaminaError):
    """Something went wrong between processes."""


class DistBackendError(DistError):
    """A collective or a message failed: a process ended, did not come in time, or called something else."""


class DistNetworkError(DistError):
    """A machine or a port that cannot be reached."""


class DistStoreError(DistError):
    """A store did not have what was waited for."""


class DistQueueEmptyError(DistStoreError):
    """Nothing is in the queue of a store."""


class UninitializedError(DistError, ValueError):
    """There is no process group yet."""


class RankError(DistError, ValueError):
    """A rank that a group does not have."""

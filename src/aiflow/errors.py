"""Every error aiflow raises on purpose.

AiflowError
├── UsageError (ValueError)      the caller's input is wrong: the message names the value and the remedy; CLI exit 2
│   ├── TopologyError            a malformed topology
│   ├── UnknownModelError        a model id, path or back end that does not exist
│   ├── UnknownAgentError        a name that no agent has
│   ├── CredentialError          a key that is needed and not in the environment
│   ├── InputError               a question, image or option that cannot be used
│   ├── DataError                a benchmark file that is missing or malformed
│   ├── UnsupportedModelError    an architecture that a technique does not know
│   ├── WeightsError             a file of weights that is missing, damaged or cut short
│   └── BudgetError              a budget that no member of a family fits
├── ProtocolError (ValueError)   bytes from another party that must not be trusted; the receiver's state is unchanged
│   ├── VersionError             another codec version
│   ├── TruncatedError           fewer bytes than the header says
│   ├── ChecksumError            the bytes were damaged
│   ├── MessageTooLargeError     more bytes than the receiver accepts
│   └── MessageError             well-formed bytes with wrong content (kind, field, session, epoch)
├── ClusterError (RuntimeError)  the cluster cannot do what was asked
│   └── PlacementError           no node offers what an agent needs
├── TrainingError (RuntimeError)  a training diverged and cannot go on
├── BudgetSpentError (RuntimeError)  a benchmark's budget of requests, tokens or money is used up; it can be resumed
└── AgentError (RuntimeError)    an agent could not answer
    ├── AgentDiedError           its process is gone
    ├── DeadlineError (TimeoutError)  no answer within the deadline
    ├── BackendError             the model behind it failed or refused
    │   └── BackendUnavailableError  it could not be reached
    ├── QuorumError              fewer agents answered than the quorum asks for
    └── UnfinishedError          what is left of a model's nodes cannot finish an answer; it has what was said
"""

from difflib import get_close_matches
from typing import Any


class AiflowError(Exception):
    """Base of all errors of aiflow."""


class UsageError(AiflowError, ValueError):
    """The caller's input is wrong; the message names the value and the remedy."""


class TopologyError(UsageError):
    """A malformed topology."""


class UnknownModelError(UsageError):
    """A model id, path or back end that does not exist."""


class UnknownAgentError(UsageError):
    """A name that no agent has."""


class CredentialError(UsageError):
    """A key that is needed and not in the environment."""


class InputError(UsageError):
    """A question, image or option that cannot be used."""


class DataError(UsageError):
    """A benchmark file that is missing or malformed."""


class UnsupportedModelError(UsageError):
    """An architecture that a technique does not know."""


class WeightsError(UsageError):
    """A file of weights that is missing, damaged or cut short."""


class BudgetError(UsageError):
    """A budget that no member of a family fits."""


class ProtocolError(AiflowError, ValueError):
    """Bytes from another party that must not be trusted."""


class VersionError(ProtocolError):
    """The bytes follow another version of the codec."""


class TruncatedError(ProtocolError):
    """Fewer bytes arrived than the header says."""


class ChecksumError(ProtocolError):
    """The bytes were damaged on the way."""


class MessageTooLargeError(ProtocolError):
    """More bytes than the receiver accepts."""


class MessageError(ProtocolError):
    """Well-formed bytes whose content is wrong: kind, field, session or epoch."""


class ClusterError(AiflowError, RuntimeError):
    """The cluster cannot do what was asked."""


class PlacementError(ClusterError):
    """No node offers what an agent needs."""


class BudgetSpentError(AiflowError, RuntimeError):
    """A benchmark's budget of requests, tokens or money is used up; the run can be resumed with a larger one."""


class TrainingError(AiflowError, RuntimeError):
    """A training that cannot go on: its gradients are no longer finite."""


class AgentError(AiflowError, RuntimeError):
    """An agent could not answer. ``agent`` is its name, where known."""

    def __init__(self, message: str, agent: str = "") -> None:
        super().__init__(message)
        self.agent = agent

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.agent)


class AgentDiedError(AgentError):
    """The agent's process is gone."""


class DeadlineError(AgentError, TimeoutError):
    """No answer within the deadline."""


class BackendError(AgentError):
    """The model behind the agent failed or refused."""


class BackendUnavailableError(BackendError):
    """The model behind the agent could not be reached."""


class QuorumError(AgentError):
    """Fewer agents answered than the quorum asks for."""


class UnfinishedError(AgentError):
    """What is left of a model's nodes cannot finish an answer; ``answer`` is what was said so far."""

    def __init__(self, message: str, agent: str = "", answer: Any = None) -> None:
        super().__init__(message, agent)
        self.answer = answer


def suggest(value: str, valid: list[str]) -> str:
    """Ends an error message: the nearest valid name, or all of them."""
    near = get_close_matches(value, valid, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(map(repr, valid)) or '(none)'}."

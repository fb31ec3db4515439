"""One tree of errors, every leaf of which says whose fault it is."""

import pickle

import pytest

from aiflow import errors


def _tree(cls):
    return [cls, *(c for child in cls.__subclasses__() for c in _tree(child))]


def test_the_docstring_draws_the_whole_tree():
    for cls in _tree(errors.AiflowError):
        if cls.__module__ == "aiflow.errors":
            assert cls.__name__ in errors.__doc__


def test_agent_errors_survive_a_process_boundary():
    error = pickle.loads(pickle.dumps(errors.DeadlineError("late", agent="phone")))
    assert (str(error), error.agent) == ("late", "phone")
    assert isinstance(error, TimeoutError)


@pytest.mark.parametrize(("value", "ending"), [("mth", "did you mean 'math'?"), ("zzz", "use one of 'math', 'code'.")])
def test_suggestions(value, ending):
    assert errors.suggest(value, ["math", "code"]) == ending

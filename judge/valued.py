"""Criteria that need no engine: a function's number as a verdict."""

from judge.criteria import PythonFunction
from judge.pool import Pool
from judge.readout import Verdict, failed


def called(criterion: PythonFunction, pool: Pool, candidate: str) -> Verdict:
    """What the function says of a candidate; its exception, or a value off the scale, is a failed
    verdict and never a score.
    """
    try:
        value = float(
            criterion.call("".join(pool.context), pool.reference, pool.candidates[candidate])
        )
    except Exception as error:  # the user's own code
        return failed(f"{criterion.function}: {type(error).__name__}: {error}")
    if not criterion.on_scale(value):
        return failed(f"{criterion.function}: found {value}; accepted: {criterion.scale}")
    return Verdict(f"{value:g}", criterion.share(value), None, "ok")

"""A judge's values as labels would have them: the file that `judge.calibration` names.

A judge leans to one side, and says .9 where it is right in 7 of 10 cases. A curve with two numbers
undoes that (Platt, Advances in Large Margin Classifiers, 1999):

    value' = 1 / (1 + exp(-(scale · log(value / (1 - value)) + offset)))

Of a pair it is about whichever text stands first, so its offset takes out the preference for a
place. The order of single texts stays what it was. A curve belongs to the judge and the criterion
that it was fitted to; any other is refused.
"""

import math
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from prewrite.base.config import Section, explain, parse_yaml
from prewrite.base.errors import ConfigError
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.config import EngineConfig
from prewrite.engine.digest import identity
from prewrite.judge.criteria import Criterion

_NEAREST = 1e-6  # to 0 and 1: log odds have an end


class CalibrationCurve(Section):
    """Of one judge on one criterion. of: what it was fitted to."""

    scale: float = Field(gt=0)
    offset: float
    of: str

    def __call__(self, value: float) -> float:
        """What labels make of a value 0..1."""
        return (1 + math.tanh((self.scale * log_odds(value) + self.offset) / 2)) / 2


_File = TypeAdapter(dict[str, dict[str, CalibrationCurve]])


def load_curves(path: str) -> dict[str, dict[str, CalibrationCurve]]:
    """Criterion → judge → curve; ConfigError in one sentence."""
    try:
        data = parse_yaml(Path(path).read_text(encoding="utf-8"))
        return _File.validate_python(data)
    except OSError:
        raise ConfigError(
            f"judge.calibration: found '{path}'; accepted: a file that `prewrite judge calibrate` "
            "has written"
        ) from None
    except ValidationError as error:
        sentence = explain(error.errors()[0], data).replace("the recipe", "the file", 1)
        raise ConfigError(f"{path}: {sentence}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None


def fitted_to(criterion: Criterion, engine: EngineConfig) -> str:
    """What a curve belongs to: the judge, and what it is asked."""
    return fingerprint([criterion.identity(), identity(engine)])[:16]


def log_odds(value: float) -> float:
    """log(p / (1 - p)), with an end."""
    value = min(max(value, _NEAREST), 1 - _NEAREST)
    return math.log(value / (1 - value))

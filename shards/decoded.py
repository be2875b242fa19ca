"""JSON of a set, decoded strictly: whatever does not fit is one sentence."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from prewrite.base.errors import ShardError
from prewrite.base.text import one_line

_LONGEST = 200  # characters of what a file can bring into a sentence
_Decoded = TypeVar("_Decoded", bound=BaseModel)


def decoded(model: type[_Decoded], where: str, data: bytes | str) -> _Decoded:
    """The object in a JSON text; ShardError, which begins with `where`, for any other text."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise ShardError(f"{where}: damaged: {fault(error)}") from None


def fault(error: ValidationError) -> str:
    """The first thing that is wrong: its key, and why."""
    first = error.errors(include_input=False, include_url=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    key = ".".join(map(str, first["loc"]))
    return one_line(f"{key}: {said}" if key else said, _LONGEST)

"""That a run is finished, and has left the model which lies there.

The last write of a run puts the size and SHA-256 of each exported file into `run.json`; a run is
complete while its model is as it was written. A run that goes on takes them out first. Cost:
SHA-256 of the model at the end of a run and at each start behind it, in the main process.
"""

import json
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from prewrite.base.files import Folder
from prewrite.train.digests import digest
from prewrite.train.model.export import is_ours
from prewrite.train.names import MODEL, RECORD
from prewrite.train.output import Output
from prewrite.train.owned import run_record
from prewrite.train.state import FileDigest


class _Record(BaseModel):
    """What of `run.json` is read here."""

    model_config = ConfigDict(extra="ignore")

    model: dict[str, FileDigest]


def is_finished(output: Output) -> bool:
    """Whether `run.json` names a model; its files may be damaged or gone."""
    return _model(output) is not None


def begin(output: Output) -> None:
    """Take the model of an earlier end out of `run.json`. One process calls."""
    if is_finished(output):
        output.folder().write(RECORD, (json.dumps(run_record()) + "\n").encode())


def finish(output: Output) -> None:
    """Record the files of the model. One process calls."""
    folder = output.root / MODEL
    files = {path.name: digest(path) for path in sorted(folder.iterdir()) if is_ours(path.name)}
    found = run_record() | {"model": {name: file.model_dump() for name, file in files.items()}}
    output.folder().write(RECORD, (json.dumps(found) + "\n").encode())


def fault(output: Output) -> str | None:
    """Why a run that made all its steps has to export its model again, in words; None: it has left
    all of it.
    """
    known = _model(output)
    if known is None:
        return f"{output.root / RECORD}: names no model that was exported"
    told = _differing(output, known)
    return f"{output.root / MODEL}: {told}" if told else None


def _model(output: Output) -> dict[str, FileDigest] | None:
    data = Folder(str(output.root)).read(RECORD)
    try:
        return _Record.model_validate_json(data or b"").model
    except ValidationError:
        return None


def _differing(output: Output, known: Mapping[str, FileDigest]) -> str | None:
    folder = output.root / MODEL
    for name, file in known.items():
        path = folder / name
        if not path.is_file():
            return f"{name}: not there"
        if path.stat().st_size != file.bytes or digest(path) != file:
            return f"{name}: found other bytes than were written"
    return None

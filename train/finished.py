"""That a run is finished, and has left the model which lies there.

At the end of a run `run.json` gets the size and SHA-256 of each exported file, so that a run is
called complete only while its model is as it was written. Cost: SHA-256 of the model at the end of
a run and at each start behind it, in the main process.
"""

import json
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from prewrite.base.files import Folder
from prewrite.train.digests import digest
from prewrite.train.model.export import is_ours
from prewrite.train.names import MODEL, PLOT, RECORD
from prewrite.train.output import Output
from prewrite.train.owned import about
from prewrite.train.state import FileDigest


class _Record(BaseModel):
    """What of `run.json` is read here."""

    model_config = ConfigDict(extra="ignore")

    model: dict[str, FileDigest]


def finish(output: Output) -> None:
    """Record the files of the model. One process calls."""
    folder = output.root / MODEL
    files = {path.name: digest(path) for path in sorted(folder.iterdir()) if is_ours(path.name)}
    found = about() | {"model": {name: file.model_dump() for name, file in files.items()}}
    output.folder().write(RECORD, (json.dumps(found) + "\n").encode())


def fault(output: Output) -> str | None:
    """Why a run that made all its steps has to export its model again, in words; None: it has left
    all of it.
    """
    try:
        known = _Record.model_validate_json(Folder(str(output.root)).read(RECORD) or b"").model
    except ValidationError:
        return f"{output.root / RECORD}: names no model that was exported"
    if told := _differing(output, known):
        return f"{output.root / MODEL}: {told}"
    return None if (output.root / PLOT).exists() else f"{output.root / PLOT}: not there"


def _differing(output: Output, known: Mapping[str, FileDigest]) -> str | None:
    folder = output.root / MODEL
    for name, file in known.items():
        path = folder / name
        if not path.is_file():
            return f"{name}: not there"
        if path.stat().st_size != file.bytes or digest(path) != file:
            return f"{name}: found other bytes than were written"
    return None

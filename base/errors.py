"""The exceptions of Prewrite and the exit code each one ends a command with.

Every one carries one plain sentence for a person: what was found, where, and what is accepted.
`base.cli` prints that sentence and no traceback; any other exception is a bug and keeps its own.
"""


class PrewriteError(Exception):
    """Anything a user can cause or meet; exit code 1."""

    exit_code = 1


class ConfigError(PrewriteError):
    """Bad usage or configuration, found before anything is loaded; exit code 2."""

    exit_code = 2


class InputError(PrewriteError):
    """A corpus that cannot be used: missing, empty, or with too many bad rows."""


class EngineError(PrewriteError):
    """A model or an endpoint that cannot answer, or of whose answers hardly any can be used (one
    failed request is no EngineError).
    """


class EngineDied(EngineError):
    """A model that was answering and will not again; another one in a new process may."""


class ShardError(PrewriteError):
    """A shard set that is damaged, incomplete or locked."""


class Interrupted(PrewriteError):
    """Stopped by a signal after a clean commit; the same command continues. Exit code 130."""

    exit_code = 130

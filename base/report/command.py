"""The command of a report: what to report on, and where the page goes."""

from collections.abc import Callable, Sequence

from prewrite.base.apart import lies_in
from prewrite.base.errors import ConfigError
from prewrite.base.files import Folder


def write_report(
    kind: str, make: Callable[[Sequence[str]], str], paths: Sequence[str], to: str | None, name: str
) -> None:
    """Write what `make` makes of `paths` to the file `to`, by default to `name` in the only one of
    them.

    kind: what is reported on, as errors name it.
    """
    target = to or f"{paths[0].rstrip('/')}/{name}"
    if not to and len(paths) > 1:
        raise ConfigError(f"--to: this key is required with more than one {kind}")
    folder, _, file = target.rpartition("/")
    if not file:
        raise ConfigError(f"--to: found '{target}'; accepted: a file")
    for path in paths:
        if lies_in(target, path) and not file.endswith(".html"):
            raise ConfigError(
                f"--to: found '{target}', inside of {path}; accepted there: a name that ends "
                "in .html"
            )
    Folder(folder or ".").write(file, make(paths).encode("utf-8", "replace"))
    print(target)

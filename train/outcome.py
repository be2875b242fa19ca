"""What is left when a run has ended: a plot of its losses and a few continuations."""

from io import BytesIO
from pathlib import Path
from typing import Any

from prewrite.base.files import Folder
from prewrite.train.log import read_metrics
from prewrite.train.names import CONTINUATIONS, PLOT


def plot(output: Folder) -> Path:
    """Draw loss components and learning rate over steps, phases shaded, to `loss.png`."""
    import matplotlib  # slow imports (1 s), once a run

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = read_metrics(output.url)
    figure, (losses, rates) = pyplot.subplots(
        2, 1, figsize=(9, 6), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    keys = dict.fromkeys(key for step in steps for key in step if key.startswith("loss/"))
    for key in keys:
        values = [step.get(key) for step in steps]
        style = "o-" if len(steps) < 50 else "-"
        gaps = [float("nan") if value is None else value for value in values]
        losses.plot([s["step"] for s in steps], gaps, style, label=key[5:], markersize=3)
    _shade_phases(losses, steps)
    losses.set_ylabel("loss (nats)")
    losses.legend(frameon=False)
    losses.grid(alpha=0.3)
    rates.plot([s["step"] for s in steps], [s["learning_rate"] for s in steps], color="black")
    rates.set_ylabel("learning rate")
    rates.set_xlabel("step")
    rates.grid(alpha=0.3)
    image = BytesIO()
    figure.savefig(image, dpi=120)
    pyplot.close(figure)
    output.write(PLOT, image.getvalue())
    return Path(output.url) / PLOT


def _shade_phases(axes: Any, steps: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(step["phase"] for step in steps))
    for number, name in enumerate(names):
        inside = [step["step"] for step in steps if step["phase"] == name]
        if number % 2:
            axes.axvspan(inside[0] - 0.5, inside[-1] + 0.5, color="black", alpha=0.06, lw=0)
        axes.annotate(
            name, (inside[0], 1), xycoords=("data", "axes fraction"), xytext=(2, -12),
            textcoords="offset points", fontsize=9, color="dimgray",
        )  # fmt: skip


def continuations(model: str, prefixes: list[str], tokens: int = 40) -> list[str]:
    """Greedy continuations of `prefixes` by the exported model in the folder `model`, whatever its
    generation_config.json says of sampling; none of a prefix without tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(model)
    # float32: bfloat16 instructions trap on some CPUs that report them.
    dtype = "auto" if device == "cuda" else torch.float32
    network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(device).eval()
    network.generation_config = GenerationConfig.from_model_config(network.config)
    texts = []
    for prefix in prefixes:
        inputs = tokenizer(prefix, return_tensors="pt").to(device)
        size = inputs.input_ids.shape[1]
        with torch.no_grad():
            more = {"max_new_tokens": tokens, "do_sample": False}
            ids = network.generate(**inputs, **more) if size else inputs.input_ids.long()
        texts.append(tokenizer.decode(ids[0, size:]))
    return texts


def write_continuations(output: Folder, pairs: list[tuple[str, str]]) -> None:
    """Keep prefixes with their continuations as `continuations.md`."""
    parts = [f"> {_quoted(prefix)}\n>\n> **{_quoted(text)}**\n" for prefix, text in pairs]
    head = "# Greedy continuations\n\nThe end of a prefix, and in bold what the model says.\n\n"
    output.write(CONTINUATIONS, (head + "\n---\n\n".join(parts)).encode())


def _quoted(text: str) -> str:
    return " ".join(text.split())

"""A few continuations by the model of a run that has ended."""

from prewrite.base.files import Folder
from prewrite.train.names import CONTINUATIONS


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

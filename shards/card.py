"""The data-set card (`README.md`) of a finished set, which `datasets.load_dataset` understands."""

from typing import Any

from jinja2 import Environment

from prewrite.base.text import one_line
from prewrite.shards.failures import LONGEST_REASON
from prewrite.shards.manifest import Manifest
from prewrite.shards.schema import columns_of

_CARD = """\
---
configs:
- config_name: default
  data_files: part-*.parquet
- config_name: judgements
  data_files: judgements/part-*.parquet
tags: [prewrite]
---
# Scored shard set

{{ m.rows }} chunks of {{ m.documents }} documents, made by Prewrite
({{ m.passes | map(attribute="name") | map("code") | join(", then ") }}).
One row is one chunk; a document's rows stand in order, and their `original` joined give the
document back byte for byte. `manifest.json` lists every file with its SHA-256, the configuration
and everything the rows depend on.

| column | type | meaning |
|---|---|---|
{% for name, kind, meaning in columns -%}
| {{ name | code }} | {{ kind }} | {{ meaning | replace("|", "\\\\|") }} |
{% endfor %}
| {% if m.rewrites %}status of each rewrite{% else %}rewrite_status{% endif %} | rows |
|---|---|
{% for name, count in m.statuses.items() -%}
| {{ name | code }} | {{ count }} |
{% endfor %}
{% if failed %}
| pass | failed, by reason | times |
|---|---|---|
{% for name, reason, count in failed -%}
| {{ name | code }} | {{ reason | code }} | {{ count }} |
{% endfor %}
{% endif -%}
Models: {% for p in m.passes %}{{ p.name | code }}: {{ models(p.config) }}
{%- if not loop.last %}; {% endif %}{% endfor %}.
The licence of the texts is that of the corpus they come from.
"""


def card(manifest: Manifest) -> str:
    """The card of the set that `manifest` describes."""
    text = _CARD if manifest.judgements else _CARD.replace(_JUDGEMENTS, "")
    environment = Environment(autoescape=False)  # noqa: S701  (Markdown, not HTML)
    environment.filters["code"] = _code
    columns = columns_of(manifest.criteria, manifest.measures, manifest.rewrites)
    failed = [
        (made.name, reason, found.count)
        for made in manifest.passes
        for reason, found in made.failures.items()
    ]
    template = environment.from_string(text)
    return template.render(m=manifest, columns=columns, failed=failed, models=_models)


def _code(text: str) -> str:
    """Words from outside, of which nothing may become Markdown or HTML."""
    return "`" + one_line(text, LONGEST_REASON).replace("`", "'").replace("|", "\\|") + "`"


def _models(config: dict[str, Any]) -> str:
    """The models of a pass: of its templates, or of its judges."""
    made = [config, *config.get("templates", ())]
    engines = [one["engine"] for one in made if "engine" in one]
    models = [str(engine.get("model")) for engine in engines or config.get("judges", {}).values()]
    return ", ".join(map(_code, dict.fromkeys(models))) or "none"


_JUDGEMENTS = "- config_name: judgements\n  data_files: judgements/part-*.parquet\n"

"""The data-set card (`README.md`) of a finished set, which `datasets.load_dataset` understands."""

from functools import cache
from typing import Any

import pyarrow as pa
from jinja2 import Environment, Template

from prewrite.base.text import one_line
from prewrite.shards.failures import LONGEST_REASON
from prewrite.shards.manifest import CORRUPTED, Manifest
from prewrite.shards.schema import columns_of

_CARD = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
dataset_info:
  features:
{% for name, kind in features -%}
{{ "  - name: " ~ name }}
{{ "    dtype: " ~ kind }}
{% endfor %}
  splits:
  - name: train
    num_examples: {{ m.rows }}
tags: [prewrite]
---
# {% if m.corrupted %}Corrupted{% else %}Scored{% endif %} shard set

{% if m.corrupted %}{{ corrupted }}

{% endif -%}
{{ m.rows }} chunks of {{ m.documents }} documents, made by Prewrite
({{ m.passes | map(attribute="name") | map("code") | join(", then ") }}).
One row is one chunk; a document's rows stand in order, and their `original` joined give the
document back byte for byte. The rows are in `data/`; `_prewrite/manifest.json` has the
configuration, everything the rows depend on, and the log that lists every row group with its
SHA-256{% if m.verdicts_digest %}; the raw verdicts are in `_judgements/`{% endif %}.

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
    columns = columns_of(manifest.criteria, manifest.measures, manifest.rewrites)
    failed = [
        (made.name, reason, found.count)
        for made in manifest.passes
        for reason, found in made.failures.items()
    ]
    features = [(field.name, _dtype(field.type)) for field in manifest.columns]
    return _template().render(
        m=manifest,
        columns=columns,
        features=features,
        failed=failed,
        models=_models,
        corrupted=CORRUPTED,
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=False)  # noqa: S701  (Markdown, not HTML)
    environment.filters["code"] = _code
    return environment.from_string(_CARD)


def _dtype(kind: pa.DataType) -> str:
    """A column's type, as `datasets` names it."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return {"float": "float32"}.get(str(kind), str(kind))


def _code(text: str) -> str:
    """Words from outside, of which nothing may become Markdown or HTML."""
    return "`" + one_line(text, LONGEST_REASON).replace("`", "'").replace("|", "\\|") + "`"


def _models(config: dict[str, Any]) -> str:
    """The models of a pass: of its templates, or of its judges."""
    made = [config, *config.get("templates", ())]
    engines = [one["engine"] for one in made if "engine" in one]
    models = [str(engine.get("model")) for engine in engines or config.get("judges", {}).values()]
    return ", ".join(map(_code, dict.fromkeys(models))) or "none"

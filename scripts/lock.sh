#!/usr/bin/env bash
# Resolves requirements/{cpu,gpu}.lock from pyproject.toml; run it by `make lock` after a change there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/sources.sh

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
uv=$(command -v uv) || {
    echo "lock: fetching uv, the resolver"
    python3 -m venv "$tools" && "$tools/bin/pip" install -q uv
    uv=$tools/bin/uv
}

resolve() {  # resolve cpu|gpu [option …]
    "$uv" pip compile pyproject.toml --quiet --extra "$1" --extra quickstart --extra dev \
        --override "requirements/$1-overrides.txt" --python-version 3.11 --python-platform linux \
        --no-annotate --custom-compile-command "make lock" --upgrade \
        --output-file "requirements/$1.lock" "${@:2}"
}

echo "lock: requirements/cpu.lock"
# shellcheck disable=SC2046  # one word an option
resolve cpu $(find_links python3) 2> "$tools/error" ||
    resolve cpu --extra-index-url "$TORCH_CPU_INDEX" --index-strategy unsafe-best-match ||
    { cat "$tools/error"; exit 1; }
echo "lock: requirements/gpu.lock"
resolve gpu

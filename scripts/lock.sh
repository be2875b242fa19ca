#!/usr/bin/env bash
# Resolves requirements/{cpu,gpu}-py3*.lock from pyproject.toml; run it by `make lock` after a change
# there. A pin stays as long as it fits: `make lock ARGS=--upgrade` takes the newest. Beside each lock
# a .files.json says that no two of its wheels share a file, or which and why that is no harm.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv=$(command -v uv) || {
    echo "lock: fetching uv, the resolver"
    python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q uv
    uv=$work/venv/bin/uv
}

compile() {  # compile PYTHON INPUT OPTION …
    "$uv" pip compile --quiet --python-version "$1" --python-platform x86_64-manylinux_2_31 "${@:2}"
}

extras=(--extra rewrite --extra train --extra classifiers --extra report --extra s3 --extra ray)
extras+=(--extra eval --extra quickstart --extra dev)

resolve() {  # resolve cpu|gpu PYTHON OPTION …, starting with the pins that the lock holds
    sed 's/+cpu$//' "$lock" > "$work/lock"
    compile "$2" pyproject.toml --extra "$1" "${extras[@]}" --no-annotate \
        --override "requirements/$1-overrides.txt" --custom-compile-command "make lock" \
        --output-file "$work/lock" "${@:3}" > /dev/null
    [ "$1" = gpu ] || sed -i 's/^torch==.*/&+cpu/' "$work/lock"
    cp "$work/lock" "$lock"
}

for device in cpu gpu; do
    for python in 3.11 3.12; do
        lock=requirements/$device-py${python/./}.lock
        echo "lock: $lock"
        if [ "$python" = 3.11 ]; then
            resolve "$device" "$python" "$@"
        else  # the same versions, where they run there
            cp "requirements/$device-py311.lock" "$lock"
            resolve "$device" "$python"
        fi
        sed 's/+cpu$//' "$lock" | compile "$python" - --no-deps --format pylock.toml > "$work/pylock.toml"
        "$uv" run --quiet scripts/shared_files.py "$lock" "$work/pylock.toml"
    done
done

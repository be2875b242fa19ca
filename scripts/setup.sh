#!/usr/bin/env bash
# Makes .venv from the lock file of this machine: requirements/gpu.lock where an NVIDIA driver answers,
# else requirements/cpu.lock; PREWRITE_DEVICE=cpu|gpu decides otherwise. The choice is kept until it is
# overridden or `make clean`. uv is used when it is on PATH, else pip.
#
# .venv/prewrite-stamp, written last, holds the device and a sum of what was installed from: when it
# fits there is nothing to do; without one (a first or an interrupted run) .venv is built afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/sources.sh

python=.venv/bin/python
stamp=.venv/prewrite-stamp

say() { echo "setup: $*"; }

exec 3>&2  # the terminal, also while a command's output goes to the log
fail() { echo "setup: $*" >&3; exit 1; }

choose_device() {
    local device=${PREWRITE_DEVICE:-$(cut -d ' ' -f 1 "$stamp" 2> /dev/null || true)}
    [ -n "$device" ] || { nvidia-smi > /dev/null 2>&1 && device=gpu; } || device=cpu
    [ "$device" = cpu ] || [ "$device" = gpu ] ||
        fail "PREWRITE_DEVICE is '$device'; it takes cpu or gpu."
    echo "$device"
}

find_python() {
    local candidate
    for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null &&
            { echo "$candidate"; return; }
    done
    fail "Python 3.11 or newer is needed, and there is none on PATH."
}

# quietly SENTENCE COMMAND …: run it; if it fails, show its last lines and the sentence.
quietly() {
    "${@:2}" > "$log" 2>&1 || { tail -n 12 "$log" >&2; fail "$1"; }
}

install() {
    if command -v uv > /dev/null; then
        # shellcheck disable=SC2046  # one word an option
        uv pip install --python "$python" --no-deps $(find_links "$python") "$@"
    else
        "$python" -m pip install --quiet --no-deps --no-input "$@"
    fi
}

# torch first and alone: only it may come from PyTorch's index.
install_torch() {
    local pin
    pin=$(grep '^torch==' "$lock")
    install "$pin" || install --extra-index-url "$TORCH_CPU_INDEX" "$pin"
}

device=$(choose_device)
lock=requirements/$device.lock
wanted="$device $(cat "$lock" pyproject.toml | cksum)"
found=$(cat "$stamp" 2> /dev/null || true)
[ "$wanted" != "$found" ] || [ ! -x "$python" ] || exit 0

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'fail "Interrupted; the same command starts afresh."' INT
rm -f "$stamp"
if [ "${found%% *}" != "$device" ] || [ ! -x "$python" ]; then
    interpreter=$(find_python)
    say "making .venv with $("$interpreter" --version) for the $device"
    quietly "The virtual environment could not be made; on Debian and Ubuntu 'apt install python3-venv' helps." \
        "$interpreter" -m venv --clear .venv
fi
if [ "$device" = cpu ]; then
    say "installing torch"
    quietly "torch could not be installed: check the network, or point TORCH_CPU_INDEX at its CPU wheels." \
        install_torch
fi
say "installing $(grep -c == "$lock") packages of $lock with $(command -v uv > /dev/null && echo uv || echo 'pip: some minutes')"
quietly "A package could not be installed: check the network and run the same command again." \
    install --requirement "$lock"
quietly "Prewrite itself could not be installed." install --no-build-isolation --editable .
echo "$wanted" > "$stamp"
say "done"

#!/usr/bin/env bash
# Makes .venv from requirements/DEVICE-pyVERSION.lock. DEVICE is gpu where an NVIDIA driver answers, else
# cpu; PREWRITE_DEVICE=cpu|gpu decides otherwise. VERSION is that of the first Python on PATH that has a
# lock. Both are kept until overridden or `make clean`. uv is used when it is on PATH, else pip.
#
# .venv/prewrite-stamp, written last, holds the device and a sum of what was installed from: when it
# fits there is nothing to do; without one (a first or an interrupted run) .venv is built afresh.
set -euo pipefail
cd "$(dirname "$0")/.."

# The CPU build of torch is asked of the configured sources first, then of PyTorch's own index.
TORCH_CPU_INDEX=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}

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

version_of() {  # version_of PYTHON: 3.11, or nothing where it does not run
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null || true
}

lock_of() {  # lock_of VERSION
    echo "requirements/$device-py${1/./}.lock"
}

find_python() {  # the first Python on PATH that has a lock
    local candidate lock version accepted=() found=
    for lock in requirements/"$device"-py3*.lock; do
        lock=${lock##*-py3}
        accepted+=("3.${lock%.lock}")
    done
    for candidate in python3 "${accepted[@]/#/python}"; do
        version=$(version_of "$candidate")
        [ ! -e "$(lock_of "$version")" ] || { echo "$candidate"; return; }
        found+=${version:+ $version}
    done
    fail "Found Python${found:- nowhere} on PATH; accepted: ${accepted[*]}, for which requirements/ has a lock."
}

# quietly SENTENCE COMMAND …: run it; if it fails, show its last lines and the sentence.
quietly() {
    "${@:2}" > "$log" 2>&1 || { tail -n 12 "$log" >&2; fail "$1"; }
}

# uv does not read pip's configuration: hand it the folders that pip was told to look in.
find_links() {
    local links link
    links=$("$python" -m pip config list 2> /dev/null | sed -n "s/^[^=]*find-links='\(.*\)'$/\1/p" || true)
    for link in $(printf '%b' "$links" | sort -u); do printf -- '--find-links %s ' "$link"; done
}

install() {
    if command -v uv > /dev/null; then
        # shellcheck disable=SC2046  # one word an option
        uv pip install --python "$python" --no-deps $(find_links) "$@"
    else
        "$python" -m pip install --quiet --no-deps --no-input --no-compile "$@"
    fi
}

# On all cores, where pip would compile file after file. Templates among them are no Python.
compile() {
    "$python" -m compileall -q -j 0 .venv/lib > /dev/null 2>&1 || true
}

# torch first and alone: only it may come from PyTorch's index.
install_torch() {
    local pin
    pin=$(grep '^torch==' "$lock")
    install "$pin" || install --extra-index-url "$TORCH_CPU_INDEX" "$pin"
}

device=$(choose_device)
found=$(cat "$stamp" 2> /dev/null || true)
interpreter=$python
if [ "${found%% *}" != "$device" ] || [ ! -e "$(lock_of "$(version_of "$python")")" ]; then
    interpreter=$(find_python)
fi
lock=$(lock_of "$(version_of "$interpreter")")
wanted="$device $(cat "$lock" pyproject.toml | cksum)"
[ "$interpreter" != "$python" ] || [ "$wanted" != "$found" ] || exit 0

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'fail "Interrupted; the same command starts afresh."' INT
rm -f "$stamp"
if [ "$interpreter" != "$python" ]; then
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
compile
echo "$wanted" > "$stamp"
say "done"

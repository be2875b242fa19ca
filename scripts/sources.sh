# Where packages come from; read by setup.sh and lock.sh.

# The CPU build of torch is asked of the configured sources first, then of PyTorch's own index.
TORCH_CPU_INDEX=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}

# uv does not read pip's configuration: hand it the folders that pip was told to look in.
find_links() {  # find_links PYTHON
    local links link
    links=$("$1" -m pip config list 2> /dev/null | sed -n "s/^[^=]*find-links='\(.*\)'$/\1/p" || true)
    for link in $(printf '%b' "$links" | sort -u); do printf -- '--find-links %s ' "$link"; done
}

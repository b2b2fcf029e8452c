# Sourced by ./run and ./test: makes the virtual environment once, and installs again only when what
# it needs has changed. Sets $python.
set -eu
cd "$(dirname "$0")"

# The versions of Python that serve, as pyproject.toml names them: >=3.A,<3.B.
python_range=$(sed -n 's/^requires-python = "\(.*\)"$/\1/p' pyproject.toml)

need() { echo "Partwise: $1" >&2; exit 1; }

# setup_environment REQUIREMENTS: install what the file lists, at the versions of constraints.txt.
setup_environment() {
    python="$PWD/.venv/bin/python"
    if [ ! -x "$python" ]; then make_environment; fi
    "$python" -m scripts.install "$1" || exit 1
}

make_environment() {
    echo "Partwise: making the environment in .venv …" >&2
    base=$(find_python)
    rm -rf .venv # what is left of one whose Python is no more
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --python "${base:-3.12}" .venv && return
        echo "Partwise: uv could not make the environment; trying without it …" >&2
    fi
    [ -n "$base" ] || need "needs Python $python_range. Install one, or uv, which brings one; \
PARTWISE_PYTHON names one that is not found."
    "$base" -m venv .venv && return
    rm -rf .venv
    need "python's venv module is missing (Debian: apt install python3-venv), and so is uv."
}

# A suitable Python, or nothing.
find_python() {
    if [ -n "${PARTWISE_PYTHON:-}" ]; then
        is_suitable "$PARTWISE_PYTHON" \
            || need "PARTWISE_PYTHON is $PARTWISE_PYTHON, which is not Python $python_range."
        echo "$PARTWISE_PYTHON"
        return
    fi
    for candidate in python3.12 python3.13 python3.11 python3.10 python3.14 python3 python; do
        if is_suitable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

is_suitable() { "$1" scripts/python_range.py >/dev/null 2>&1; }

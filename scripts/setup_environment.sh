# Sourced by ./run and ./test: makes the virtual environment once, and again only when what it
# needs has changed. Sets $python.
set -eu
cd "$(dirname "$0")"

need() { echo "Partwise: $1" >&2; exit 1; }

find_python() {
    for candidate in "${PARTWISE_PYTHON:-}" python3.12 python3.11 python3.10 python3 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
            2>/dev/null && { echo "$candidate"; return; }
    done
    need "needs Python 3.10, 3.11 or 3.12. Install one, or name it in PARTWISE_PYTHON."
}

# setup_environment REQUIREMENTS: install what the file lists, at the versions of constraints.txt.
setup_environment() {
    python="$PWD/.venv/bin/python"
    if [ -x "$python" ] && is_installed "$1"; then return; fi
    if [ ! -x "$python" ]; then
        base=$(find_python)
        echo "Partwise: making the environment in .venv …" >&2
        "$base" -m venv .venv || need "python's venv module is missing (Debian: apt install python3-venv)."
    fi
    echo "Partwise: installing $1 (the first time takes some minutes) …" >&2
    "$python" -m pip install --disable-pip-version-check --quiet -r "$1" -c constraints.txt \
        || need "the installation failed; the lines above say why. Nothing was started."
    for installed in requirements.txt "$1"; do # the development's list takes in the application's
        fingerprint "$installed" > "$(stamp_of "$installed")"
    done
}

stamp_of() { echo "$PWD/.venv/installed-$(basename "$1" .txt)"; }
fingerprint() { cat requirements.txt "$1" constraints.txt | cksum; }
is_installed() { [ "$(cat "$(stamp_of "$1")" 2>/dev/null)" = "$(fingerprint "$1")" ]; }

#!/usr/bin/env bash
# Resolve the pins for each Python that runs Partwise; by hand, after a change of constraints.txt.
set -eu
cd "$(dirname "$0")/.."

case "${1:-}" in
    -h | --help)
        echo "Usage: scripts/check_pythons.sh"
        echo "Resolves requirements-dev.txt at the versions of constraints.txt for every Python from"
        echo "the oldest to the newest, with those found on PATH, in pyenv and in PARTWISE_PYTHON, and"
        echo "without one for the rest. Needs the package registry and some minutes; installs nothing."
        echo "Writes tests/data/requires_python.json, which a test holds against the pins."
        exit 0
        ;;
esac

python="$PWD/.venv/bin/python"
if [ ! -x "$python" ]; then
    echo "Partwise is not set up yet. Run ./test once; it makes the environment in .venv." >&2
    exit 1
fi
exec "$python" -m scripts.check_pythons

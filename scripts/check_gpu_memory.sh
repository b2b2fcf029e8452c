#!/usr/bin/env bash
# What holds the memory, what the next job needs, what would help: cli.py memory --diagnose.
# scripts/check_gpu_memory.sh --free lets running servers unload and offers to end stale ones.
set -eu
cd "$(dirname "$0")/.."

case "${1:-}" in
    -h | --help)
        echo "Usage: scripts/check_gpu_memory.sh [--free [--yes]] [options of cli.py memory]"
        echo "Explains who holds the memory. With --free, your Partwise servers unload what they"
        echo "do not use, and stale ones are ended after a question (--yes: without one)."
        exit 0
        ;;
esac

python="$PWD/.venv/bin/python"
if [ ! -x "$python" ]; then
    echo "Partwise is not set up yet. Run ./run once; it makes the environment in .venv." >&2
    exit 1
fi
case " $* " in
    *" --free "*) exec "$python" cli.py memory "$@" ;;
    *) exec "$python" cli.py memory --diagnose "$@" ;;
esac

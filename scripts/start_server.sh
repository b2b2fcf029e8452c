#!/usr/bin/env bash
# Start the server with settings that suit a machine: scripts/start_server.sh [--preset NAME] [options of ./run]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
run="${PARTWISE_RUN:-$here/run}" # tests put a fake in its place

usage() {
    cat <<'TEXT'
Usage: scripts/start_server.sh [--preset NAME] [--dry-run] [options of ./run]

Sets the environment for a preset, then starts ./run with the remaining options. What is set in
the environment already is kept. --dry-run prints what would be set and started.

  balanced    what the settings in configs/ say (also without --preset)
  quality     P3-SAM with most points for every job; nothing is given up that changes a result
  low_vram    P3-SAM with few points for every job; models leave the GPU after a minute, and so
              does the process that they run in
  8gb         for a GPU of 8 GiB: all of Partwise within 7 GiB
  12gb        for a GPU of 12 GiB: all of Partwise within 11 GiB
  16gb        for a GPU of 16 GiB: all of Partwise within 15 GiB
  24gb        for a GPU of 24 GiB: all of Partwise within 22 GiB; models stay loaded for half an
              hour
  cpu         no GPU is used, even where there is one
TEXT
}

fail() {
    echo "Partwise: $1" >&2
    exit 2
}

# A value of the environment wins over the preset's.
choose() {
    name=$1
    if [ -z "${!name+set}" ]; then
        export "$name=$2"
    fi
    chosen="$chosen $name=${!name}"
}

# P3-SAM's points and prompts as the page's preset of that name has them.
choose_points() {
    file="$here/configs/presets/$1.yaml"
    choose PARTWISE_P3SAM_POINT_NUM "$(sed -n 's/^point_num: *//p' "$file")"
    choose PARTWISE_P3SAM_PROMPT_NUM "$(sed -n 's/^prompt_num: *//p' "$file")"
}

apply_preset() {
    case "$1" in
        balanced) ;;
        quality)
            choose_points "$1"
            choose PARTWISE_VRAM_LADDER exact
            ;;
        low_vram)
            choose_points "$1"
            choose PARTWISE_VRAM_IDLE_UNLOAD_S 60
            choose PARTWISE_VRAM_HOST_KEEP_S 60
            choose PARTWISE_VRAM_IS_ISOLATED true
            ;;
        8gb) choose PARTWISE_VRAM_BUDGET_GIB 7 ;;
        12gb) choose PARTWISE_VRAM_BUDGET_GIB 11 ;;
        16gb) choose PARTWISE_VRAM_BUDGET_GIB 15 ;;
        24gb)
            choose PARTWISE_VRAM_BUDGET_GIB 22
            choose PARTWISE_VRAM_IDLE_UNLOAD_S 1800
            ;;
        cpu) choose CUDA_VISIBLE_DEVICES "" ;;
        *) fail "'$1' is not a preset. Known are balanced, quality, low_vram, 8gb, 12gb, 16gb, 24gb, cpu." ;;
    esac
}

preset=balanced
is_dry=
chosen=
options=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help)
            usage
            exit 0
            ;;
        --preset)
            [ $# -ge 2 ] || fail "--preset needs a name; --help lists them."
            preset=$2
            shift
            ;;
        --preset=*) preset=${1#--preset=} ;;
        --dry-run) is_dry=yes ;;
        *) options+=("$1") ;;
    esac
    shift
done

apply_preset "$preset"
if [ -n "$is_dry" ]; then
    for setting in $chosen; do echo "$setting"; done
    echo "$run" ${options[@]+"${options[@]}"}
    exit 0
fi
exec "$run" ${options[@]+"${options[@]}"}

#!/usr/bin/env bash
# Make a swap file on Linux, so that a machine short of memory slows down in place of ending programs.
# scripts/setup_swap_file.sh SIZE [--path FILE] [--permanent] [--dry-run]; --remove takes it away.
set -eu

path=/partwise.swap
size=
is_dry=
is_removal=
is_permanent=
fstab="${PARTWISE_FSTAB:-/etc/fstab}" # tests put files of their own in place of these two
swaps="${PARTWISE_SWAPS:-/proc/swaps}"
mark="# made by Partwise's setup_swap_file.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/setup_swap_file.sh SIZE [--path FILE] [--permanent] [--dry-run]
       scripts/setup_swap_file.sh --remove [--path FILE] [--dry-run]

Makes a swap file of SIZE (a whole number with M or G, such as 8G) and turns it on. Needs root and
Linux. It lasts until the next start of the machine; --permanent adds it to /etc/fstab.

  --path FILE   where to put it (/partwise.swap)
  --dry-run     check everything and print the steps; change nothing
  --remove      turn it off and delete it, with its line in /etc/fstab
TEXT
}

fail() {
    echo "setup_swap_file.sh: $1 Nothing was changed." >&2
    exit 1
}

step() {
    echo "+ $*"
    if [ -z "$is_dry" ]; then "$@"; fi
}

read_options() {
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                usage
                exit 0
                ;;
            --path)
                [ $# -ge 2 ] || fail "--path needs a file."
                path=$2
                shift
                ;;
            --path=*) path=${1#--path=} ;;
            --dry-run) is_dry=yes ;;
            --remove) is_removal=yes ;;
            --permanent) is_permanent=yes ;;
            -*) fail "'$1' is not an option; --help lists them." ;;
            *)
                [ -z "$size" ] || fail "Give one size, not '$size' and '$1'."
                size=$1
                ;;
        esac
        shift
    done
}

# 8G or 512M to MiB; at most 1024 GiB.
to_mib() {
    case "$1" in
        *[!0-9MG]* | "" | [MG]* | 0*) return 1 ;;
        *[0-9]M) number=${1%M} factor=1 ;;
        *[0-9]G) number=${1%G} factor=1024 ;;
        *) return 1 ;;
    esac
    case "$number" in *[!0-9]* | ???????*) return 1 ;; esac
    mib=$((number * factor))
    [ "$mib" -ge 16 ] && [ "$mib" -le 1048576 ] && echo "$mib"
}

is_on() { awk 'NR > 1 { print $1 }' "$swaps" 2>/dev/null | grep -Fxq "$path"; }
is_ours() { [ -f "$path.partwise" ] && [ "$(cat "$path.partwise")" = "$mark" ]; }

check_machine() {
    [ "$(uname -s)" = Linux ] || fail "Swap files are made this way on Linux only; this is $(uname -s)."
    [ "$(id -u)" = 0 ] || fail "This needs root. Run it with sudo."
    case "$path" in
        /*[!A-Za-z0-9._/-]* | */../* | */..) fail "The path '$path' has signs that /etc/fstab cannot hold." ;;
        /*) ;;
        *) fail "The path '$path' is not a full one; begin it with /." ;;
    esac
    [ ! -L "$path" ] || fail "$path is a link. Name the file itself."
    for tool in mkswap swapon swapoff awk df stat; do
        command -v "$tool" >/dev/null 2>&1 || fail "The program $tool is missing (package util-linux or coreutils)."
    done
    [ -r "$swaps" ] || fail "$swaps cannot be read, so swap is out of reach here (a container?)."
    may_swap || fail "This container may not turn on swap; do it on the machine that it runs on."
}

# Turning on swap needs the right CAP_SYS_ADMIN: bit 21 of the effective set.
may_swap() {
    rights=$(awk '/^CapEff:/ { print $2 }' "${PARTWISE_STATUS:-/proc/self/status}" 2>/dev/null)
    [ -n "$rights" ] || return 1
    [ $(((0x$rights >> 21) & 1)) = 1 ]
}

check_folder() {
    folder=$(dirname "$path")
    [ -d "$folder" ] || fail "The folder $folder does not exist."
    [ -z "$(find "$folder" -maxdepth 0 -perm -002)" ] \
        || fail "Everybody may write to $folder, so a swap file is not safe there. Choose another --path."
}

check_file_system() {
    kind=$(stat -f -c %T "$folder")
    case "$kind" in
        ext2/ext3 | ext4 | ext2 | ext3 | xfs | f2fs) ;;
        btrfs) fail "$folder is on btrfs, where a swap file needs a subvolume without copy-on-write. Choose another --path." ;;
        overlayfs | tmpfs | ramfs | nfs* | smb* | cifs | fuse* | zfs | squashfs)
            fail "$folder is on $kind, where swap files do not work. Choose another --path." ;;
        *) fail "$folder is on $kind, which is not known to hold swap files. Choose another --path." ;;
    esac
}

check_room() {
    free=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
    needed=$((mib + mib / 10))
    [ "$free" -ge "$needed" ] || fail "$folder has $free MiB free; $needed MiB are needed (the size and a tenth)."
}

make_file() {
    if command -v fallocate >/dev/null 2>&1; then
        step fallocate -l "${mib}M" "$path" && return
    fi
    step dd if=/dev/zero "of=$path" bs=1M "count=$mib" status=none
}

undo() {
    echo "setup_swap_file.sh: a step failed, see above; what was made is removed." >&2
    swapoff "$path" 2>/dev/null || true
    rm -f "$path" "$path.partwise" "$fstab.partwise"
}

create() {
    mib=$(to_mib "$size") || fail "The size is '$size'; give a whole number with M or G, from 16M to 1024G, such as 8G."
    check_machine
    check_folder
    if is_on; then fail "Swap is on at $path already. --remove takes it away."; fi
    if [ -e "$path" ] || [ -e "$path.partwise" ]; then
        is_ours || fail "$path exists and was not made by this script. Choose another --path."
        fail "$path is there from an earlier run. Take it away with --remove first."
    fi
    check_file_system
    check_room
    [ -n "$is_dry" ] || trap undo EXIT
    umask 077
    echo "+ note in $path.partwise that the file is ours"
    [ -n "$is_dry" ] || echo "$mark" > "$path.partwise"
    make_file
    step chmod 600 "$path"
    step mkswap "$path"
    step swapon "$path"
    if [ -n "$is_permanent" ]; then
        echo "+ add $path to $fstab"
        [ -n "$is_dry" ] || replace_fstab awk -v "mark=$mark" -v "line=$path none swap sw 0 0" \
            '{ print } END { print mark; print line }' "$fstab"
    fi
    trap - EXIT
    finish "Swap of $size is on at $path."
}

remove() {
    [ -z "$size" ] || fail "--remove takes no size."
    check_machine
    check_folder
    is_ours || fail "$path was not made by this script, so it is not touched."
    if is_on; then step swapoff "$path"; fi
    if grep -Fqs "$path none swap" "$fstab"; then
        echo "+ take $path out of $fstab"
        # shellcheck disable=SC2016 # the variables are awk's
        [ -n "$is_dry" ] || replace_fstab awk -v "mark=$mark" -v "line=$path none swap sw 0 0" \
            '$0 != mark && $0 != line' "$fstab"
    fi
    step rm -f "$path" "$path.partwise"
    finish "$path is gone."
}

# The file of mounts becomes what a command prints: all at once, with its owner and rights.
replace_fstab() {
    cp -p "$fstab" "$fstab.partwise"
    "$@" > "$fstab.partwise"
    mv "$fstab.partwise" "$fstab"
}

finish() {
    if [ -n "$is_dry" ]; then
        echo "Dry run: nothing was changed."
    else
        echo "$1"
    fi
}

read_options "$@"
if [ -n "$is_removal" ]; then
    remove
else
    [ -n "$size" ] || { usage >&2; exit 2; }
    create
fi

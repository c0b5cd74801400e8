#!/bin/sh
# Saves what lparbench reads of a Linux machine, without Python and without changing anything:
#   sh save-tree.sh FILE.tgz      then, anywhere:      lparbench doctor --sysroot FILE.tgz
# The serial number in lparcfg is replaced by its digest; KEEP_SERIAL=1 keeps it.
set -eu
out=${1:?usage: sh save-tree.sh FILE.tgz}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

keep() { # files as they read now; those of /proc and /sys have no size of their own
    for file; do
        [ -f "$file" ] && [ -r "$file" ] || continue
        mkdir -p "$tree${file%/*}"
        cat "$file" > "$tree$file" 2> /dev/null || rm -f "$tree$file"
    done
}

below() { # all files of a directory that are no links, and the directories of links into it
    find "$@" 2> /dev/null | while IFS= read -r path; do
        if [ -L "$path" ]; then
            mkdir -p "$tree${path%/*}"
            ln -s "$(readlink "$path")" "$tree$path" 2> /dev/null || true
        elif [ -d "$path" ]; then
            mkdir -p "$tree$path"
        else
            keep "$path"
        fi
    done
}

keep /proc/cmdline /proc/cpuinfo /proc/loadavg /proc/meminfo /proc/stat /proc/uptime /proc/version
keep /proc/ppc64/lparcfg /proc/powerpc/lparcfg
keep /proc/sys/kernel/arch /proc/sys/kernel/numa_balancing /proc/sys/kernel/osrelease /proc/sys/vm/zone_reclaim_mode
if [ ! -f "$tree/proc/sys/kernel/arch" ]; then # since Linux 6.1
    mkdir -p "$tree/proc/sys/kernel"
    uname -m > "$tree/proc/sys/kernel/arch"
fi
keep /proc/self/auxv /proc/self/cgroup /proc/self/mountinfo /proc/self/status
[ -d /proc/device-tree ] && below -H /proc/device-tree -size -1024k
below /sys/devices/system/cpu /sys/devices/system/node /sys/devices/system/clocksource
keep /sys/devices/system/memory/block_size_bytes
[ -d /sys/firmware/papr ] && below /sys/firmware/papr
below /sys/kernel/mm/hugepages /sys/kernel/mm/transparent_hugepage
keep /sys/fs/cgroup/cgroup.controllers /sys/fs/cgroup/cpuset.cpus.effective /sys/fs/cgroup/cpuset.mems.effective
keep /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max

if [ -z "${KEEP_SERIAL:-}" ]; then
    for file in "$tree/proc/ppc64/lparcfg" "$tree/proc/powerpc/lparcfg"; do
        [ -f "$file" ] || continue
        serial=$(sed -n 's/^serial_number=//p' "$file")
        [ -n "$serial" ] || continue
        digest=$(printf %s "$serial" | sha256sum | cut -c1-16)
        sed "s/^serial_number=.*/serial_number=sha256:$digest/" "$file" > "$file.new" && mv "$file.new" "$file"
    done
    rm -f "$tree/proc/device-tree/system-id"
fi

cd "$tree"
tar czf - proc sys > "$tree.tgz"
cd - > /dev/null
mv "$tree.tgz" "$out"

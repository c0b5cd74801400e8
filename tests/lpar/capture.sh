# Runs in the guest: what its own tools say of the machine, and the /proc and /sys that the host is to read it from.
cpus=/sys/devices/system/cpu

# Every thread online, as after the boot.
begin() {
    read -r level < $cpus/smt/control
    [ "$level" = on ] || echo on > $cpus/smt/control
    for file in $cpus/cpu[0-9]*/online; do
        read -r state < "$file"
        [ "$state" = 1 ] || echo 1 > "$file"
    done
}

# The module is given the addresses that its parameters ask for, "drmem_info_at".
load_lparcfg() {
    insmod /job/lparcfg.ko $(modinfo -F parmtype /job/lparcfg.ko | busybox awk '
        NR == FNR { sub("_at:.*", ""); asked[$0]; next }
        $3 in asked { printf "%s_at=0x%s ", $3, $1 }' - /proc/kallsyms)
}

# As /job/NAME.tar. Each program that is started takes a fifth of a second of CPU.
capture() {
    mkdir -p "/tmp/$1/oracle"
    cd "/tmp/$1/oracle"
    lscpu -p=CPU,CORE,NODE,CACHE > lscpu
    lscpu > lscpu-summary
    numactl --hardware > numactl
    lstopo-no-graphics --no-io --of xml > lstopo
    ppc64_cpu --smt > smt
    ppc64_cpu --info > info
    ppc64_cpu --threads-per-core > threads
    LD_SHOW_AUXV=1 /bin/true > auxv
    uname -r > release
    cd /
    cp -r -P --parents -t "/tmp/$1" proc/cpuinfo proc/meminfo proc/version proc/cmdline proc/stat proc/loadavg proc/uptime \
        proc/interrupts proc/self/auxv proc/self/status proc/self/cgroup proc/self/numa_maps proc/sys/kernel/arch \
        proc/sys/kernel/osrelease proc/sys/kernel/numa_balancing proc/sys/kernel/random/boot_id \
        proc/sys/vm/zone_reclaim_mode proc/powerpc/lparcfg proc/powerpc/vcpudispatch_stats \
        sys/devices/system/cpu sys/devices/system/node sys/firmware/devicetree/base sys/kernel/mm sys/fs/cgroup \
        sys/kernel/cpu_byteorder 2> /dev/null  # what is not there, or can only be written to
    ln -s /sys/firmware/devicetree/base "/tmp/$1/proc/device-tree"
    ln -s powerpc "/tmp/$1/proc/ppc64"
    tar -c -C "/tmp/$1" -f "/job/$1.tar" .
}

. /job/states

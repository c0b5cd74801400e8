# Runs in the guest: what its own tools say of the machine, and the /proc and /sys that the host is to read it from.
cpus=/sys/devices/system/cpu
. /job/before  # the state of SMT to be captured
mkdir -p /tmp/tree/oracle /tmp/tree/proc/self /tmp/tree/sys/fs
cd /tmp/tree/oracle
lscpu -p=CPU,CORE,NODE,CACHE > lscpu
lscpu > lscpu-summary
numactl --hardware > numactl
lstopo-no-graphics --no-io --of xml > lstopo
ppc64_cpu --smt > smt
ppc64_cpu --info > info
ppc64_cpu --threads-per-core > threads
LD_SHOW_AUXV=1 /bin/true > auxv
uname -r > release
cd /tmp/tree
for name in cpuinfo meminfo version cmdline stat loadavg uptime interrupts self/auxv self/status self/cgroup \
    self/numa_maps sys/kernel/arch sys/kernel/osrelease sys/kernel/numa_balancing sys/kernel/random/boot_id \
    sys/vm/zone_reclaim_mode powerpc/lparcfg powerpc/vcpudispatch_stats; do
    mkdir -p "proc/$(dirname $name)"
    cp /proc/$name proc/$name
done
for name in devices/system/cpu devices/system/node firmware/devicetree/base kernel/mm fs/cgroup kernel/cpu_byteorder; do
    mkdir -p "sys/$(dirname $name)"
    cp -r -P /sys/$name sys/$name
done 2> /dev/null  # what can only be written to
ln -s /sys/firmware/devicetree/base proc/device-tree
ln -s powerpc proc/ppc64
tar -c -f /job/tree.tar .

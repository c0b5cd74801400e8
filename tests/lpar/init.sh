#!/bin/busybox sh
# First program of the guest: the root is shared by the host read-only, with a file system in memory over it; what
# belongs to this boot alone is /job, which the guest may write to. /job/run is run, and the machine powers off.
B=/bin/busybox
$B mount -t devtmpfs dev /dev
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
for module in /modules/*; do $B insmod "$module"; done
share=trans=virtio,version=9p2000.L,msize=512000
$B mount -t 9p -o $share,ro,cache=loose root /lower || $B poweroff -f
$B mount -t tmpfs -o size=80% upper /upper
$B mkdir -p /upper/new /upper/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/new,workdir=/upper/work root /new
for name in proc sys dev run tmp job root; do $B mkdir -p /new/$name; done
$B mount -t 9p -o $share,cache=none job /new/job
for name in proc sys dev; do $B mount --move /$name /new/$name; done
for name in dev/shm run tmp; do $B mkdir -p /new/$name; $B mount -t tmpfs tmpfs /new/$name; done
$B mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
$B ip link set lo up
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
exec $B switch_root /new /bin/sh -c '/bin/sh -u /job/run > /job/log 2>&1; echo $? > /job/code; sync; busybox poweroff -f'

#!/bin/busybox sh
# First process of the guest: mounts what a BPF tool expects, runs the command with its output on
# ports of its own, reports how it ended and switches the machine off.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /bin /sbin
/bin/busybox --install -s /bin
export PATH=/work:/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts 2>/dev/null
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
# Missing in some kernels, and then of no use to the command either.
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
# Where libbpf looks for the values of `extern ... __kconfig`.
[ -e /boot/config ] && mv /boot/config "/boot/config-$(uname -r)"
ip link set lo up 2>/dev/null

status=/dev/vport0p1
if [ ! -c $status ]; then
	echo "scx-lint vm: no virtio ports; cannot report" >/dev/console
	poweroff -f
fi
read -r up _ </proc/uptime
# Opened once: the host takes a closed port for a finished one.
exec 7>$status 8>/dev/vport0p2 9>/dev/vport0p3
echo "up $up" >&7
cd /work
(exec /bin/sh /.vm/run </dev/null >&8 2>&9 7>&- 8>&- 9>&-)
code=$?
echo "exit $code" >&7
exec 7>&- 8>&- 9>&-
sync
poweroff -f

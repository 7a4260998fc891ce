#!/bin/sh
# Runs inside the guest, as root, on the host's files: the command from the kernel's command line (base64), then power off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run/tmp
# Emulated in software, and without a service manager: tests wait longer, and get the limit that one would give.
export BERTH_TEST_PATIENCE=6
ulimit -n 65536
mkdir -p "$TMPDIR"
# As a service manager does: AppArmor is spoken to by it.
mount -t securityfs securityfs /sys/kernel/security
# This kernel's tmpfs shows no owners through a user namespace; ext4 does. In memory, and no larger than what is written.
export BERTH_TEST_DISK=/run/disk
mkdir "$BERTH_TEST_DISK"
truncate -s 600M /run/disk.ext4
mkfs.ext4 -q /run/disk.ext4 && mount -o loop /run/disk.ext4 "$BERTH_TEST_DISK"
cd "$(sed 's/.*berth_repo=\([^ ]*\).*/\1/' /proc/cmdline)" || exit 1
command=$(sed 's/.*berth_run=\([^ ]*\).*/\1/' /proc/cmdline | base64 -d)
echo "guest: Linux $(uname -r), cgroup v2: $(cat /sys/fs/cgroup/cgroup.controllers)"
sh -c "$command"
echo "guest exit $?"
sync
/bin/busybox poweroff -f

#!/bin/sh
# test/vm/run.sh COMMAND: runs a shell command on this machine's files in a virtual machine with a stock kernel and pure
# cgroup v2. Software emulation (a stock kernel does not boot under nested KVM everywhere): some ten seconds to start.
# Exits with the command's status. BERTH_VM_TIMEOUT: seconds until it is given up, 600 by default. BERTH_VM_DISK: a qcow2
# image that the guest has as /dev/vda. BERTH_VM_PIDFILE: where qemu's pid goes, for who wants to cut the power.
set -eu
repo=$(cd "$(dirname "$0")/../.." && pwd)
"$repo/test/vm/prepare.sh"
state=$(mktemp -d)
/usr/lib/qemu/virtiofsd --socket-path="$state/fs.sock" -o source=/ -o sandbox=chroot -o cache=always -o xattr >"$state/fs.log" 2>&1 &
filesystem=$!
trap 'kill $filesystem 2>/dev/null || :; rm -rf "$state"' EXIT
tries=0
while [ ! -S "$state/fs.sock" ]; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || { cat "$state/fs.log" >&2; exit 1; }
  sleep 0.1
done
encoded=$(printf '%s' "$1" | base64 -w0)
timeout "${BERTH_VM_TIMEOUT:-600}" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu Haswell-noTSX -smp 2 -m 2560M \
  -object memory-backend-memfd,id=mem,size=2560M,share=on -numa node,memdev=mem \
  -chardev socket,id=fs,path="$state/fs.sock" -device vhost-user-fs-pci,chardev=fs,tag=host \
  ${BERTH_VM_DISK:+-drive "file=$BERTH_VM_DISK,format=qcow2,if=virtio,cache=writeback"} \
  ${BERTH_VM_PIDFILE:+-pidfile "$BERTH_VM_PIDFILE"} \
  -kernel "$repo/.cache/vm/vmlinuz" -initrd "$repo/.cache/vm/initrd.gz" \
  -append "console=ttyS0 panic=-1 quiet mitigations=off nokaslr cgroup_no_v1=all berth_repo=$repo berth_run=$encoded" \
  -nographic -no-reboot -nodefaults -serial stdio </dev/null | tee "$state/output"
status=$(tr -d '\r' <"$state/output" | sed -n 's/^guest exit //p' | tail -1)
exit "${status:-1}"

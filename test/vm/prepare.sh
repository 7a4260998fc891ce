#!/bin/sh
# Makes .cache/vm/{vmlinuz,initrd.gz}: Debian's cloud kernel, and an initramfs that mounts the host's root directory read-only
# with a tmpfs on top. Done once, and again when a file here has changed; needs what test/prerequisites.sh installs.
set -eu
cd "$(dirname "$0")/../.."
cache=$PWD/.cache/vm
here=$PWD/test/vm
[ ! -e "$cache/initrd.gz" ] || [ -n "$(find "$here" -newer "$cache/initrd.gz" ! -name guest.sh ! -name run.sh ! -name '*.ts' -type f)" ] || exit 0
mkdir -p "$cache/work"
cd "$cache/work"
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*cloud-amd64\).*/\1/p' | head -1)
apt-get download -q "$kernel" >&2
dpkg-deb -x "$kernel"_*.deb kernel
release=$(ls kernel/lib/modules)
depmod -b kernel "$release"

tree=$cache/work/tree
mkdir -p "$tree/bin" "$tree/lib/modules" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/mnt"
cp /bin/busybox "$tree/bin/busybox"
ln -s busybox "$tree/bin/sh"
cp "$here/init" "$tree/init"
chmod +x "$tree/init"
# Each module after those it depends on.
modules=kernel/lib/modules/$release
while read -r name; do
  line=$(grep -E "/$name\.ko:" "$modules/modules.dep" | head -1) || { echo "no module $name" >&2; continue; }
  self=${line%%:*}
  for dependency in $(echo "${line#*:}" | tr ' ' '\n' | tac) "$self"; do echo "$dependency"; done
done <"$here/modules.txt" | awk '!seen[$0]++' >order
while read -r path; do
  cp "$modules/$path" "$tree/lib/modules/"
  basename "$path"
done <order >"$tree/lib/modules/order"
(cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$cache/initrd.gz.new"
cp kernel/boot/vmlinuz-* "$cache/vmlinuz"
mv "$cache/initrd.gz.new" "$cache/initrd.gz"
rm -rf "$cache/work"

#!/bin/sh
# Installs what the tests run beside berth and what is missing here: Debian packages by name, nothing else. Needs root.
set -eu
packages=
need() { command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || packages="$packages $2"; }
need docker docker.io
need ip iproute2
need nft nftables
need unshare util-linux
need /bin/busybox busybox-static
need curl curl
need tmux tmux
need socat socat
need dig bind9-dnsutils
need skopeo skopeo
need umoci umoci
need bsdtar libarchive-tools
need setcap libcap2-bin
need xz xz-utils
need bzip2 bzip2
need docker-registry docker-registry
need crun crun
need runc runc
need cc gcc
need musl-gcc musl-tools
need objdump binutils
need node nodejs
need openssl openssl
need rsyslogd rsyslog
need /lib/systemd/systemd-journald systemd
need htpasswd apache2-utils
need nginx nginx-light
need redis-server redis-server
need qemu-system-x86_64 qemu-system-x86
need qemu-img qemu-utils
need depmod kmod
need cpio cpio
need mkfs.ext4 e2fsprogs
need mkfs.xfs xfsprogs
need apparmor_parser apparmor
# The executable for 64-bit Arm is run once, by emulation.
if [ "$(uname -m)" = x86_64 ]; then
  need qemu-aarch64-static qemu-user-static
  need /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 libc6-arm64-cross
fi
python3 -c 'import docker' 2>/dev/null || packages="$packages python3-docker"
compose=/usr/libexec/docker/cli-plugins/docker-compose
[ -z "$packages" ] && [ -e "$compose" ] && exit 0
echo "installing:$packages"
apt-get update -q >/dev/null
# docker.io would start a daemon of its own; only its client is wanted.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.berth
chmod +x /usr/sbin/policy-rc.d.berth
[ -e /usr/sbin/policy-rc.d ] || { ln -s policy-rc.d.berth /usr/sbin/policy-rc.d; trap 'rm -f /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.berth' EXIT; }
# shellcheck disable=SC2086
[ -z "$packages" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages >/dev/null

# docker compose as a plugin of the client is in later releases of Debian alone: its one file is taken from there. It runs on
# older C libraries too.
if [ ! -e "$compose" ]; then
  room=$(mktemp -d)
  trap 'rm -rf "$room" /usr/sbin/policy-rc.d.berth; [ -L /usr/sbin/policy-rc.d ] && rm -f /usr/sbin/policy-rc.d || true' EXIT
  mkdir -p "$room/lists/partial" "$room/cache/archives/partial"
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror forky main" >"$room/sources.list"
  apt_later() {
    (cd "$room" && apt-get -q -o Dir::Etc::sourcelist="$room/sources.list" -o Dir::Etc::sourceparts=- \
      -o Dir::State::lists="$room/lists" -o Dir::Cache="$room/cache" -o Acquire::Check-Valid-Until=false \
      -o APT::Sandbox::User=root "$@" >/dev/null)
  }
  apt_later update
  apt_later download docker-compose
  dpkg-deb -x "$room"/docker-compose_*.deb "$room/files"
  mkdir -p "$(dirname "$compose")"
  cp "$room/files$compose" "$compose"
fi

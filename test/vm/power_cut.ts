// Power cuts: a machine of its own with a disk of its own pulls an image over and over, and its power is cut at a random
// moment. At the next boot every layer and blob must be whole by `berth verify`, and the pull goes on.
//
//   bun test/vm/power_cut.ts 100        one line for each cut; exits with 0 when nothing was ever half
//
// The disk is a qcow2 image with a write-back cache: what the guest has not flushed lies in its page cache, or in qemu's
// memory as mappings of new clusters that are not written yet. SIGKILL for qemu loses both, as a disk's volatile cache would.
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { directory, dockerArchive, file, imageOf, layerOf } from "../support/images.ts";

const CUTS = Number(process.argv[2] ?? 3);
/** A boot under software emulation, and then some. */
const BOOT_MS = 120_000;
/** A pull takes some seconds there: the cut falls anywhere in it, or in the next. */
const WINDOW_MS = 9_000;

const work = mkdtempSync(join(tmpdir(), "berth-power-"));
const disk = join(work, "disk.qcow2");
const pidfile = join(work, "qemu.pid");

/** What the guest does at each boot, on the host's files (read-only) with its own disk at /run/disk. */
const guest = `
set -e
mkdir -p /run/disk
blkid /dev/vda >/dev/null 2>&1 || mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/vda
mount -t ext4 /dev/vda /run/disk
if [ -d /run/disk/data ]; then
  dist/berth verify --data-root /run/disk/data || { echo "power: DAMAGED"; exit 1; }
  echo "power: layers $(ls /run/disk/data/layers | wc -l)"
fi
docker-registry serve ${work}/registry.yml >/dev/null 2>&1 &
dist/berth -H unix:///run/b.sock --data-root /run/disk/data --exec-root /run/exec --pidfile /run/b.pid --bridge none >/run/b.log 2>&1 &
until curl -sf --unix-socket /run/b.sock http://b/_ping >/dev/null && curl -sf http://127.0.0.1:5000/v2/ >/dev/null; do sleep 0.1; done
echo "power: pulling"
while :; do
  curl -s -X POST --unix-socket /run/b.sock 'http://b/images/create?fromImage=127.0.0.1:5000/victim&tag=1' | grep -o 'Status: [A-Z][a-z]*\\|"error.*' || :
  echo "power: pulled"
  curl -s -X DELETE --unix-socket /run/b.sock 'http://b/images/127.0.0.1:5000/victim:1?force=1' >/dev/null
done`;

async function fillRegistry(): Promise<void> {
  const layers = Array.from({ length: 8 }, (_, number) =>
    layerOf([
      directory(`layer${number}`),
      file(`layer${number}/noise`, randomBytes(1 << 20)),
      ...Array.from({ length: 30 }, (_unused, at) => file(`layer${number}/file${at}`, randomBytes(2000))),
    ]),
  );
  const archive = join(work, "victim.tar");
  writeFileSync(archive, dockerArchive(imageOf(layers), ["victim:1"]));
  mkdirSync(join(work, "registry"));
  const settings = [
    "version: 0.1",
    "log: {level: error, accesslog: {disabled: true}}",
    `storage: {filesystem: {rootdirectory: ${join(work, "registry")}}}`,
    "http: {addr: 127.0.0.1:5000}",
  ];
  writeFileSync(join(work, "registry.yml"), `${settings.join("\n")}\n`);
  const script = [
    "ip link set lo up",
    `docker-registry serve ${join(work, "registry.yml")} >/dev/null 2>&1 & registry=$!`,
    "until curl -sf http://127.0.0.1:5000/v2/ >/dev/null; do sleep 0.1; done",
    `skopeo copy -q --dest-tls-verify=false docker-archive:${archive} docker://127.0.0.1:5000/victim:1`,
    "status=$?; kill $registry; exit $status",
  ].join("\n");
  const filled = Bun.spawnSync(["unshare", "--net", "sh", "-c", script]);
  if (filled.exitCode !== 0) throw new Error(filled.stderr.toString());
}

/** One life of the machine: boots, checks, pulls, and loses its power. Answers with what it said. */
async function life(cutAfterMs: number): Promise<string> {
  rmSync(pidfile, { force: true });
  const machine = Bun.spawn([join(import.meta.dir, "run.sh"), guest], {
    env: { ...process.env, BERTH_VM_DISK: disk, BERTH_VM_PIDFILE: pidfile },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of machine.stdout) said += decoder.decode(chunk, { stream: true });
  })();
  const deadline = Date.now() + BOOT_MS;
  while (!said.includes("power: pulling") && machine.exitCode === null && Date.now() < deadline) await Bun.sleep(50);
  if (said.includes("power: pulling")) await Bun.sleep(cutAfterMs);
  if (existsSync(pidfile)) process.kill(Number(readFileSync(pidfile, "utf8")), "SIGKILL");
  await machine.exited;
  await reading;
  return said;
}

async function main(): Promise<number> {
  await fillRegistry();
  const made = Bun.spawnSync(["qemu-img", "create", "-q", "-f", "qcow2", disk, "4G"]);
  if (made.exitCode !== 0) throw new Error(made.stderr.toString());
  for (let cut = 1; cut <= CUTS + 1; cut++) {
    const afterMs = Math.round(Math.random() * WINDOW_MS);
    const said = await life(afterMs);
    const checked = /\d+ images, .* checked: .*/.exec(said)?.[0].trim() ?? "first boot";
    const pulls = said.match(/power: pulled/g)?.length ?? 0;
    console.log(`boot ${cut}: ${checked}; ${pulls} pulls finished, power cut after ${afterMs} ms`);
    if (said.includes("DAMAGED") || !said.includes("power: pulling")) {
      console.log(said.slice(-3000));
      return 1;
    }
  }
  console.log(`${CUTS} power cuts, nothing half`);
  return 0;
}

try {
  process.exitCode = await main();
} finally {
  rmSync(work, { recursive: true, force: true });
}

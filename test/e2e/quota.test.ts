// Limits on the disk by project quotas, on real file systems in image files: `--storage-opt size=` of a container and `size` of
// a local volume, on ext4 and XFS. Needs a kernel with both kinds of quota: test/vm has one; elsewhere the test says what is
// missing.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon } from "../support/daemon.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-quota-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What makes a file system in a file, which is sparse. XFS is not made smaller than 300 MB. */
const KINDS = {
  ext4: { make: ["mkfs.ext4", "-q", "-O", "quota,project"], size: "160M" },
  xfs: { make: ["mkfs.xfs", "-q"], size: "320M" },
} as const;

async function makeImage(kind: keyof typeof KINDS): Promise<{ image: string; problem: string }> {
  const { make, size } = KINDS[kind];
  const image = join(directory, `${kind}.img`);
  const place = join(directory, kind);
  mkdirSync(place);
  for (const command of [
    ["truncate", "-s", size, image],
    [...make, image],
    ["unshare", "--mount", "--propagation", "private", "mount", "-o", "loop,prjquota", image, place],
  ]) {
    const { code, stderr } = await run(command);
    if (code !== 0) return { image, problem: `${command[0]}: ${stderr.trim()}` };
  }
  return { image, problem: "" };
}

for (const kind of ["ext4", "xfs"] as const) {
  const { image, problem } = await makeImage(kind);
  if (problem !== "") console.log(`no project quotas on ${kind} here: ${problem.split("\n")[0]}`);

  describe.skipIf(problem !== "")(`on ${kind}`, () => {
    let berth: TestDaemon;
    beforeAll(async () => {
      berth = await TestDaemon.start({ disk: ["-o", "loop,prjquota", image] });
      await loadBusybox(berth);
    });
    afterAll(async () => await berth[Symbol.asyncDispose]());

    /** Writes what there is room for below a directory: prints its size, why no more went in, and how many MiB did. */
    const fill = (path: string): string =>
      `stat -f -c "%b %S" ${path}/. | awk '{ print $1 * $2 / 1048576 }'; dd if=/dev/zero of=${path}/ballast bs=1M count=64 2>/tmp/said; ` +
      `sync; grep -oE "No space left|quota exceeded" /tmp/said; echo $(( $(stat -c %s ${path}/ballast) >> 20 ))`;
    /** The lines of `fill` are those of a place with so many MiB. */
    const expectFull = (said: string, mebibytes: number): void => {
      const [size, why, got] = said.split("\n");
      expect(size).toBe(String(mebibytes));
      expect(why).toMatch(/No space left|quota exceeded/);
      expect(Number(got)).toBeGreaterThan(mebibytes / 2);
      expect(Number(got)).toBeLessThanOrEqual(mebibytes);
    };
    const flags = ["--network", "none", "--tmpfs", "/tmp"];

    test("a container gets no more than its size, sees it, and has it still after a restart of the daemon", async () => {
      await berth.dockerOK(
        "run",
        "-d",
        "--name",
        "small",
        ...flags,
        "--storage-opt",
        "size=16m",
        "busybox",
        "sleep",
        "1000",
      );
      const inside = (script: string): Promise<string> => berth.dockerOK("exec", "small", "sh", "-c", script);
      expectFull(await inside(fill("")), 16);
      // Its neighbour writes on, beyond what the small one may.
      const more = "dd if=/dev/zero of=/ballast bs=1M count=24 2>/dev/null && echo ok";
      expect(await berth.dockerOK("run", "--rm", ...flags, "busybox", "sh", "-c", more)).toBe("ok");

      await berth.stop();
      await berth.boot();
      expect(await inside("df -m / | tail -n 1 | awk '{ print $2 }'")).toBe("16");
      // What came with the image is copied up within the limit.
      const change =
        "! dd if=/dev/zero of=/more bs=1M count=8 2>/dev/null; rm -f /more /ballast; chmod 700 /bin/busybox && echo ok";
      expect(await inside(change)).toBe("ok");
      await berth.dockerOK("rm", "-f", "small");
    });

    test("what a removed container took is free for the next, with another size", async () => {
      for (const mebibytes of [8, 12]) {
        const limit = ["--storage-opt", `size=${mebibytes}m`];
        expectFull(await berth.dockerOK("run", "--rm", ...flags, ...limit, "busybox", "sh", "-c", fill("")), mebibytes);
      }
    });

    test("a volume gets no more than its size", async () => {
      await berth.dockerOK("volume", "create", "--opt", "size=10m", "data");
      const mount = ["-v", "data:/data"];
      expectFull(await berth.dockerOK("run", "--rm", ...flags, ...mount, "busybox", "sh", "-c", fill("/data")), 10);
      await berth.dockerOK("volume", "rm", "data");
    });

    test("options that cannot be are refused", async () => {
      const create = (...flags: string[]) => berth.docker(["create", ...flags, "busybox", "true"]);
      expect((await create("--storage-opt", "size=x")).stderr).toContain("invalid size: 'x'");
      expect((await create("--storage-opt", "inodes=5")).stderr).toContain("Unknown option inodes");
      const device = ["--opt", "type=tmpfs", "--opt", "device=tmpfs"];
      expect((await berth.docker(["volume", "create", "--opt", "size=1m", ...device, "tm"])).stderr).toContain(
        "size is for a volume on this machine's own disk",
      );
    });
  });
}

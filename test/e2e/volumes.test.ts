// Volumes whose files are not in their directory: file systems that the local driver mounts, and those of a plugin, which
// is a program of its own (plugins/boxes.ts). Seen by the docker CLI, from inside containers and at the mount table.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => {
  await berth[Symbol.asyncDispose]();
});

/** Mount points below the volumes' directory, as the daemon's own mount table has them. */
function mounted(): string[] {
  const root = join(berth.dataRoot, "volumes");
  return readFileSync(`/proc/${berth.holderPID}/mountinfo`, "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(root))
    .map((path) => path.slice(root.length + 1));
}

describe("the local driver", () => {
  test("a tmpfs is one for all containers that run with it, and gone after the last", async () => {
    const options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000"];
    expect(await berth.dockerOK("volume", "create", "-d", "local", ...options, "cache")).toBe("cache");
    expect(mounted()).toEqual([]);
    await berth.dockerOK("run", "-d", "--name", "one", "-v", "cache:/c", "busybox", "sleep", "1000");
    expect(mounted()).toEqual(["cache/_data"]);
    await berth.dockerOK("exec", "one", "sh", "-c", "echo shared > /c/file");
    const seen = await berth.dockerOK("run", "--rm", "-v", "cache:/d:ro", "busybox", "sh", "-c", LOOK);
    expect(seen).toBe("shared\n1000\ntmpfs 1024");
    expect(mounted()).toEqual(["cache/_data"]);
    await berth.dockerOK("rm", "-f", "one");
    expect(mounted()).toEqual([]);
    expect(await berth.dockerOK("run", "--rm", "-v", "cache:/c", "busybox", "ls", "/c")).toBe("");
    expect(await berth.dockerOK("volume", "inspect", "-f", "{{json .Options}}", "cache")).toBe(
      '{"device":"tmpfs","o":"size=1m,uid=1000","type":"tmpfs"}',
    );
    await berth.dockerOK("volume", "rm", "cache");
  });
  const LOOK = "cat /d/file; stat -c %u /d; df -P -k /d | awk 'NR == 2 { print $1, $2 }'";

  test("a bind shows a directory of the host's, which the removal leaves alone", async () => {
    const shared = join(berth.directory, "shared");
    mkdirSync(shared);
    writeFileSync(join(shared, "file"), "of the host\n");
    const options = ["-o", "type=none", "-o", `device=${shared}`, "-o", "o=bind,ro"];
    await berth.dockerOK("volume", "create", ...options, "outside");
    const script = "cat /o/file; touch /o/new 2>&1 | sed s/.*:.//";
    expect(await berth.dockerOK("run", "--rm", "-v", "outside:/o", "busybox", "sh", "-c", script)).toBe(
      "of the host\nRead-only file system",
    );
    await berth.dockerOK("create", "--name", "stopped", "-v", "outside:/o", "busybox");
    expect(await berth.dockerOK("cp", "stopped:/o/file", "-")).toContain("of the host");
    await berth.dockerOK("rm", "stopped");
    await berth.dockerOK("volume", "rm", "outside");
    expect(readFileSync(join(shared, "file"), "utf8")).toBe("of the host\n");
    expect(mounted()).toEqual([]);
  });

  test("options of a mount go to the driver", async () => {
    const mount =
      "type=volume,source=made,target=/m,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=2m";
    const script = "df -P -k /m | awk 'NR == 2 { print $1, $2 }'";
    expect(await berth.dockerOK("run", "--rm", "--mount", mount, "busybox", "sh", "-c", script)).toBe("tmpfs 2048");
    await berth.dockerOK("volume", "rm", "made");
  });

  test("what cannot be mounted fails the start, says why and leaves nothing", async () => {
    await berth.dockerOK("volume", "create", "-o", "type=ext4", "-o", "device=/dev/null", "broken");
    const failed = await berth.docker(["run", "--rm", "--name", "fails", "-v", "broken:/b", "busybox", "true"]);
    expect(failed.code).toBe(125);
    expect(failed.stderr).toContain("failed to mount local volume: mount /dev/null:");
    expect(failed.stderr).toContain("block device required");
    expect(mounted()).toEqual([]);
    await berth.docker(["rm", "-f", "fails"]);
    await berth.dockerOK("volume", "rm", "broken");
  });

  test("a killed daemon's successor knows who has it mounted, and takes down what nobody has", async () => {
    for (const name of ["kept", "left"]) {
      await berth.dockerOK("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", name);
      await berth.dockerOK("run", "-d", "--name", `${name}-user`, "-v", `${name}:/v`, "busybox", "sleep", "1000");
    }
    const pid = (await berth.dockerOK("inspect", "-f", "{{.State.Pid}}", "left-user")).trim();
    await berth.kill();
    expect((await berth.inside(["kill", "-9", pid])).code).toBe(0);
    await berth.boot();
    await until("what nobody has is taken down", () => mounted().join() === "kept/_data");
    await berth.dockerOK("rm", "-f", "kept-user", "left-user");
    expect(mounted()).toEqual([]);
    await berth.dockerOK("volume", "rm", "kept", "left");
  });
});

describe("a plugin", () => {
  let plugin: ReturnType<typeof Bun.spawn>;
  let directory = "";
  beforeAll(async () => {
    directory = join(berth.directory, "boxes");
    const sockets = join(berth.execRoot, "plugins");
    for (const path of [directory, sockets]) mkdirSync(path, { recursive: true });
    const program = join(import.meta.dir, "plugins/boxes.ts");
    const socket = join(sockets, "boxes.sock");
    plugin = Bun.spawn(
      ["nsenter", `--mount=/proc/${berth.holderPID}/ns/mnt`, process.execPath, program, socket, directory],
      { stdio: ["ignore", "inherit", "inherit"] },
    );
    await until("the plugin listens", () => existsSync(socket));
  });
  afterAll(async () => {
    plugin.kill();
    await plugin.exited;
  });
  const calls = (): string[] => readFileSync(join(directory, "calls"), "utf8").trim().split("\n");

  test("makes, mounts, shows, unmounts and removes a volume", async () => {
    expect(await berth.dockerOK("volume", "create", "-d", "boxes", "-o", "color=blue", "crate")).toBe("crate");
    const run = ["run", "--rm", "-v", "crate:/b", "busybox", "sh", "-c"];
    await berth.dockerOK(...run, "echo kept > /b/file");
    expect(await berth.dockerOK(...run, "cat /b/file")).toBe("kept");
    const shown = "{{.Driver}} {{.Scope}} {{.Status.color}} {{.Mountpoint}}";
    expect(await berth.dockerOK("volume", "inspect", "-f", shown, "crate")).toBe("boxes global blue");
    const driver = ["--volume-driver", "boxes"];
    await berth.dockerOK("run", ...driver, "-d", "--name", "user", "-v", "crate:/b", "busybox", "sleep", "1000");
    await berth.dockerOK("run", ...driver, "--rm", "-v", "second:/b", "busybox", "true");
    expect(await berth.dockerOK("volume", "inspect", "-f", "{{.Driver}}", "second")).toBe("boxes");
    await berth.dockerOK("volume", "rm", "second");
    expect(await berth.dockerOK("volume", "inspect", "-f", "{{.Mountpoint}}", "crate")).toBe(
      `${directory}/mounts/crate`,
    );
    const refused = await berth.docker(["volume", "rm", "crate"]);
    expect(refused.stderr).toContain("volume is in use");
    await berth.dockerOK("rm", "-f", "user");
    await berth.dockerOK("volume", "rm", "crate");
    expect(existsSync(join(directory, "boxes/crate"))).toBe(false);
    const used = calls().filter((call) => /Mount|Unmount/.test(call));
    expect(used.filter((call) => call.startsWith("/VolumeDriver.Mount")).length).toBe(
      used.filter((call) => call.startsWith("/VolumeDriver.Unmount")).length,
    );
  });

  test("has volumes that the engine learns of by asking", async () => {
    mkdirSync(join(directory, "boxes/older"));
    writeFileSync(join(directory, "boxes/older/file"), "from before\n");
    expect(await berth.dockerOK("volume", "ls", "--format", "{{.Driver}} {{.Name}}")).toContain("boxes older");
    mkdirSync(join(directory, "boxes/found"));
    expect(await berth.dockerOK("volume", "inspect", "-f", "{{.Driver}}", "found")).toBe("boxes");
    expect(await berth.dockerOK("run", "--rm", "-v", "older:/b", "busybox", "cat", "/b/file")).toBe("from before");
    expect((await berth.docker(["volume", "create", "-d", "local", "older"])).stderr).toContain(
      "volume name must be unique",
    );
    await berth.dockerOK("volume", "rm", "older", "found");
  });

  test("refuses in its own words, and one that is not there is not found", async () => {
    const red = await berth.docker(["volume", "create", "-d", "boxes", "-o", "color=red", "scarlet"]);
    expect(red.stderr).toContain("red boxes are sold out");
    expect((await berth.docker(["volume", "inspect", "scarlet"])).code).toBe(1);
    const none = await berth.docker(["volume", "create", "-d", "barrels", "crate"]);
    expect(none.stderr).toContain('error looking up volume plugin barrels: plugin "barrels" not found');
  });
});

test("a volume whose plugin has gone is removed by force alone", async () => {
  const socket = join(berth.execRoot, "plugins/brief.sock");
  const answers: Record<string, object> = {
    "/Plugin.Activate": { Implements: ["VolumeDriver"] },
    "/VolumeDriver.Get": { Volume: { Name: "orphan" } },
  };
  const server = createServer((request, response) => {
    request.resume();
    response.end(JSON.stringify(answers[request.url ?? ""] ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  await berth.dockerOK("volume", "create", "-d", "brief", "orphan");
  await new Promise((resolve) => server.close(resolve));
  rmSync(socket, { force: true });
  expect((await berth.docker(["volume", "rm", "orphan"])).stderr).toContain('plugin "brief" not found');
  await berth.dockerOK("volume", "rm", "-f", "orphan");
  expect(await berth.dockerOK("volume", "ls", "-q")).toBe("");
});

test("nothing is left", async () => {
  await berth.dockerOK("system", "prune", "-f", "--volumes");
  expect(await berth.leftovers()).toEqual([]);
});

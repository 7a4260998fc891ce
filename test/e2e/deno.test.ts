// The daemon from source under Deno, as `deno task start` runs it: what the README promises there, and no more.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";

const ROOT = join(import.meta.dir, "../..");
/** WHY not .bin/deno: that is a script which starts this one and passes no signal on. It puts it there at its first use. */
const DENO = join(ROOT, "node_modules/deno/deno");

let berth: TestDaemon;
beforeAll(async () => {
  const { stdout } = await run([join(ROOT, "node_modules/.bin/deno"), "--version"]);
  expect(stdout).toStartWith("deno 2.9");
  berth = await TestDaemon.start({
    program: [DENO, "run", "-A", "--config", join(ROOT, "deno.json"), join(ROOT, "src/main.ts"), "serve"],
    args: ["--bridge", "none", "--iptables=false"],
    env: { NO_COLOR: "1" },
  });
});
afterAll(async () => await berth[Symbol.asyncDispose]());

test("it is Deno that answers a ping, and tells its version and what it is", async () => {
  expect(await run(["readlink", `/proc/${berth.pid}/exe`])).toMatchObject({ stdout: `${DENO}\n` });
  const ping = await berth.request("GET", "/_ping");
  expect(await ping.text()).toBe("OK");
  expect(ping.headers.get("api-version")).toMatch(/^1\.\d+$/);
  expect(await berth.dockerOK("version", "--format", "{{(index .Server.Components 0).Details.GoVersion}}")).toStartWith(
    "deno2.9",
  );
  const info = await (await berth.request("GET", "/info")).json();
  expect(info).toMatchObject({ Containers: 0, DockerRootDir: berth.dataRoot, OSType: "linux" });
});

test("docker load unpacks an image, docker images lists it, docker save gives it back", async () => {
  expect(await berth.dockerOK("images", "-q")).toBe("");
  await loadBusybox(berth);
  expect(await berth.dockerOK("images", "--format", "{{.Repository}}:{{.Tag}}")).toBe("busybox:latest");
  const id = await berth.dockerOK("image", "inspect", "busybox", "--format", "{{.Id}}");
  const copy = join(berth.directory, "copy.tar");
  await berth.dockerOK("save", "-o", copy, "busybox");
  expect(await berth.dockerOK("rmi", "busybox")).toContain(`Deleted: ${id}`);
  expect(await berth.dockerOK("images", "-q")).toBe("");
  await berth.dockerOK("load", "-i", copy);
  expect(await berth.dockerOK("image", "inspect", "busybox", "--format", "{{.Id}}")).toBe(id);
});

test("volumes and containers are made, listed and removed", async () => {
  expect(await berth.dockerOK("volume", "create", "vol")).toBe("vol");
  const id = await berth.dockerOK("create", "--network", "none", "--name", "box", "-v", "vol:/data", "busybox", "true");
  expect(await berth.dockerOK("ps", "-a", "--format", "{{.Names}} {{.State}}")).toBe("box created");
  expect((await berth.docker(["volume", "rm", "vol"])).stderr).toContain(`volume is in use - [${id}]`);
  await berth.dockerOK("rm", "box");
  await berth.dockerOK("volume", "rm", "vol");
});

test("a start says that it takes Bun, leaves nothing, and the daemon serves on", async () => {
  const ran = await berth.docker(["run", "--rm", "--network", "none", "busybox", "true"]);
  expect(ran.code).not.toBe(0);
  expect(ran.stderr).toContain("needs Bun");
  await until("nothing is left", async () => (await berth.leftovers()).length === 0);
  expect(await berth.dockerOK("ps", "-aq")).toBe("");
});

test("it ends on SIGTERM and knows its images at the next start", async () => {
  expect(await berth.stop()).toBe(0);
  await berth.boot();
  expect(await berth.dockerOK("images", "--format", "{{.Repository}}")).toBe("busybox");
});

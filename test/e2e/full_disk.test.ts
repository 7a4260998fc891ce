// The data root is full: what needs room is refused with the reason and leaves nothing, what makes room works, what runs
// goes on running, and afterwards everything is as before.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start({ diskMiB: 24 });
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const ballast = (): string => `${berth.dataRoot}/ballast`;
const fill = () => berth.inside(["dd", "if=/dev/zero", `of=${ballast()}`, "bs=4k", "oflag=append", "conv=notrunc"]);
const names = async (): Promise<string[]> =>
  (await berth.dockerOK("ps", "-a", "--format", "{{.Names}}")).split("\n").filter(Boolean).sort();

test("on a full disk containers run on, are stopped and removed, and new ones are refused", async () => {
  const chatter = "while :; do echo line; sleep 0.01; done";
  await berth.dockerOK("run", "-d", "--name", "chatty", "--restart", "always", "busybox", "sh", "-c", chatter);
  await berth.dockerOK("run", "-d", "--name", "quiet", "busybox", "sleep", "1000");
  await berth.dockerOK("create", "--name", "idle", "busybox", "true");
  await fill();

  const asked = [
    await berth.docker(["create", "--name", "new", "busybox", "true"]),
    await berth.docker(["start", "idle"]),
    await berth.docker(["volume", "create", "--label", "password=secret", "data"]),
    await berth.docker(["network", "create", "lan"]),
    await berth.docker(["tag", "busybox", "other:1"]),
  ];
  // A row may still fit into what the database's log has: whoever is refused hears why.
  const refused = asked.filter(({ code }) => code !== 0);
  expect(refused.length).toBeGreaterThan(0);
  for (const { stderr } of refused) {
    expect(stderr).toMatch(/disk is full|no space left on device/);
    expect(stderr).not.toContain("params:");
  }
  expect(berth.log).not.toContain("secret");
  await berth.docker(["rm", "-f", "new"]);
  await berth.docker(["volume", "rm", "data"]);
  await berth.docker(["network", "rm", "lan"]);
  expect(await names()).toEqual(["chatty", "idle", "quiet"]);
  expect(await berth.dockerOK("exec", "chatty", "echo", "alive")).toBe("alive");
  await berth.dockerOK("pause", "quiet");
  await berth.dockerOK("unpause", "quiet");
  await berth.dockerOK("stop", "-t", "0", "chatty");

  await fill();
  await berth.dockerOK("rm", "-f", "quiet");
  await berth.dockerOK("rm", "chatty");
  await berth.dockerOK("rm", "idle");
  expect(await names()).toEqual([]);

  await fill();
  await berth.kill();
  await berth.boot();
  expect(await names()).toEqual([]);
  await berth.inside(["rm", ballast()]);
  expect(await berth.dockerOK("run", "--rm", "--name", "new", "busybox", "echo", "room again")).toBe("room again");
  expect((await berth.dockerOK("network", "ls", "--format", "{{.Name}}")).split("\n").sort()).toEqual([
    "bridge",
    "host",
    "none",
  ]);
  expect((await berth.inside(["ls", `${berth.dataRoot}/volumes`])).stdout).toBe("");
  await until("nothing is left", async () => (await berth.leftovers()).length === 0);
}, 60_000);

// Independent clients: docker-py (Debian's python3-docker) and dockerode (under Node), each with a script of its own.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";
import { loadPrograms } from "../support/program_image.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const script = (name: string): string => join(import.meta.dir, "clients", name);

test("docker-py runs, attaches, execs, reads logs and events", async () => {
  const ran = await run(["python3", script("docker_py.py")], { env: berth.clientEnv });
  expect(ran).toMatchObject({ code: 0, stderr: "" });
  expect(ran.stdout).toEndWith("ok events\n");
});

test("dockerode runs, attaches, execs, reads logs and events", async () => {
  const ran = await run(["node", script("dockerode.cjs")], { env: berth.clientEnv });
  expect(ran).toMatchObject({ code: 0, stderr: "" });
  expect(ran.stdout).toEndWith("ok events\n");
});

test("testcontainers runs, waits, looks up names, follows logs, and its reaper takes the rest away", async () => {
  await loadPrograms(berth, {
    name: "berth-test/reaper",
    programs: [process.execPath],
    files: { "/reaper.ts": readFileSync(script("reaper.ts"), "utf8") },
    config: { Entrypoint: [process.execPath, "/reaper.ts"], ExposedPorts: { "8080/tcp": {} } },
  });
  const names = { RYUK_CONTAINER_IMAGE: "berth-test/reaper", TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE: berth.socket };
  const settings = Object.entries({ ...names, TESTCONTAINERS_HOST_OVERRIDE: "127.0.0.1" }).map((pair) =>
    pair.join("="),
  );
  const ran = await berth.inside(["env", ...settings, "node", script("testcontainers.cjs")], { timeoutMs: 100_000 });
  expect(ran).toMatchObject({ code: 0, stderr: "" });
  expect(ran.stdout).toEndWith("ok stop\n");
  await until("the reaper has done its work", async () => (await berth.dockerOK("ps", "-aq")) === "");
  expect(await berth.dockerOK("network", "ls", "-q", "--filter", "type=custom")).toBe("");
}, 120_000);

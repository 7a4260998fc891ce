// Independent clients: docker-py (Debian's python3-docker) and dockerode (under Node), each with a script of its own.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon } from "../support/daemon.ts";

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

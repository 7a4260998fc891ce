// The daemon is killed (SIGKILL) again and again while clients create, start, stop and remove containers. Afterwards every
// container is whole or gone: nothing runs that the engine does not know, no name is held by nobody, no directory, cgroup,
// link or process is left.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

const KILLS = Number(process.env.BERTH_KILLS ?? 8);
const CLIENTS = 3;

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

interface Summary {
  Id: string;
  Names: string[];
  State: string;
}

const BODIES = [
  { Image: "busybox", Cmd: ["sleep", "1000"], HostConfig: { NetworkMode: "none" } },
  { Image: "busybox", Cmd: ["true"], HostConfig: { AutoRemove: true }, Volumes: { "/data": {} } },
  { Image: "busybox", Cmd: ["sh", "-c", "sleep 0.02; exit 3"], HostConfig: { RestartPolicy: { Name: "always" } } },
  { Image: "busybox", Cmd: ["sleep", "1000"] },
];

/** One life after another under the same few names, whatever the daemon answers, or does not. */
async function client(number: number, signal: { isOver: boolean }): Promise<void> {
  const ask = async (method: string, path: string, body?: unknown): Promise<void> => {
    try {
      await (await berth.request(method, path, body === undefined ? {} : { body })).text();
    } catch {
      // The daemon is down: a real client would wait for it.
      await Bun.sleep(5);
    }
  };
  for (let turn = 0; !signal.isOver; turn++) {
    const name = `client${number}-${turn % 4}`;
    await ask("POST", `/containers/create?name=${name}`, BODIES[(turn + number) % BODIES.length]);
    await ask("POST", `/containers/${name}/start`);
    if (turn % 3 === 0) await ask("POST", `/containers/${name}/pause`);
    if (turn % 5 === 0) await ask("POST", `/containers/${name}/rename?name=${name}-new`);
    if (turn % 4 === 0) await ask("POST", `/containers/${name}/restart?t=0`);
    await ask("DELETE", `/containers/${name}?force=1&v=1`);
    await ask("DELETE", `/containers/${name}-new?force=1&v=1`);
  }
}

async function list(): Promise<Summary[]> {
  return (await (await berth.request("GET", "/containers/json?all=1")).json()) as Summary[];
}

test(`${KILLS} kills in the middle of containers' lives leave every container whole or gone`, async () => {
  const signal = { isOver: false };
  const clients = Array.from({ length: CLIENTS }, (_, number) => client(number, signal));
  for (let count = 0; count < KILLS; count++) {
    await Bun.sleep(60 + ((count * 37) % 150));
    await berth.kill();
    await berth.boot();
  }
  signal.isOver = true;
  await Promise.all(clients);
  expect(berth.log).not.toContain("please report it");

  // Each that is listed has its directory and can be inspected; each that runs has a process.
  for (const { Id, State } of await list()) {
    const reply = await berth.request("GET", `/containers/${Id}/json`);
    if (reply.status === 404) continue;
    const { State: state } = (await reply.json()) as { State: { Pid: number; Status: string } };
    if (State === "running" && state.Status === "running") expect(state.Pid).toBeGreaterThan(0);
  }
  const all = async (): Promise<string[]> => (await list()).map(({ Id }) => Id);
  const refused = await Promise.all(
    (await all()).map(async (id) => {
      const reply = await berth.request("DELETE", `/containers/${id}?force=1&v=1`);
      return reply.ok || reply.status === 404 ? "" : await reply.text();
    }),
  );
  expect(refused.filter((text) => text !== "")).toEqual([]);
  expect(await all()).toEqual([]);
  let left: string[] = [];
  await until("nothing is left", async () => (left = await berth.leftovers()).length === 0).catch(() => {});
  expect(left).toEqual([]);

  // No name is held by a container that is gone, and what is created now works.
  for (let number = 0; number < CLIENTS; number++) {
    for (let turn = 0; turn < 4; turn++) {
      for (const name of [`client${number}-${turn}`, `client${number}-${turn}-new`]) {
        await berth.dockerOK("create", "--name", name, "busybox", "true");
      }
    }
  }
  expect(await berth.dockerOK("start", "-a", "client0-0")).toBe("");
  expect(readdirSync(join(berth.dataRoot, "containers"))).toHaveLength(CLIENTS * 8);
}, 120_000);

// The verbs over a simulated runtime: what they do, in which order, and what is left when they fail.
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import * as v from "valibot";
import { LaunchError } from "../../../../runtime/mod.ts";
import { EngineError } from "../../../../src/errors.ts";
import { ContainerCreate } from "../../../../src/schema/container.ts";
import { HostConfig } from "../../../../src/schema/host_config.ts";
import { createRoom, type Room, until } from "../../../support/engine_room.ts";

const NEVER = new AbortController().signal;
const events = (room: Room): string[] => room.story.filter((line) => line.startsWith("container "));

async function refusal(work: Promise<unknown>): Promise<{ kind: string; message: string }> {
  try {
    await work;
  } catch (error) {
    if (error instanceof EngineError) return { kind: error.kind, message: error.message };
    throw error;
  }
  return { kind: "none", message: "" };
}

describe("the exit of a container", () => {
  test("leaves networks, then dies, then wakes waiters, then is removed", async () => {
    await using room = await createRoom();
    const id = await room.create({ HostConfig: { AutoRemove: true } });
    room.registry.get(id).onExit.add(() => room.story.push("waiter"));
    const gone = room.containers.wait(id, "removed", NEVER).then(({ result }) => result);
    await room.containers.start(id);
    expect(await gone).toEqual({ statusCode: 0, error: null });
    expect(room.story).toEqual([
      "container create",
      "container start",
      "networks kept",
      "networks disposed",
      "networks left",
      "container die",
      "waiter",
      "files discarded",
      "container destroy",
    ]);
    expect((await room.store.all()).records).toEqual([]);
    expect(await refusal(Promise.resolve().then(() => room.containers.get(id)))).toEqual({
      kind: "notFound",
      message: `No such container: ${id}`,
    });
  });

  test("comes after its output, unless a client holds that up", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] });
    await room.containers.start(id);
    const [stdio] = room.stdios;
    if (!stdio) throw new Error("no streams were opened");
    stdio.holds = true;
    room.runtime.tasks.get(id)?.end(5);
    await until(() => room.clock.pending.length === 1);
    expect(room.containers.get(id).state.status).toBe("running");
    room.clock.advance(2_000);
    await until(() => room.containers.get(id).state.status === "exited");
    expect(stdio.isClosed).toBe(false);
    stdio.release();
    await until(() => stdio.isClosed);
  });

  test("shows the code, the times and whether memory ran out", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] });
    await room.containers.start(id);
    room.runtime.tasks.get(id)?.cgroup.oom();
    await until(() => room.containers.get(id).state.status === "exited");
    expect(room.containers.get(id).state).toMatchObject({
      status: "exited",
      exit: { exitCode: 137, oomKilled: true, error: "" },
    });
    expect(events(room)).toEqual(["container create", "container start", "container oom", "container die"]);
  });

  test("is stored: another engine on the same rows sees it", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["exit", "3"] });
    await room.containers.start(id);
    await until(() => room.containers.get(id).state.status === "exited");
    const { records } = await room.store.all();
    expect(records).toEqual([room.containers.get(id)]);
  });
});

describe("start", () => {
  test("answers already-running for a container that runs", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] });
    expect(await room.containers.start(id)).toBe("started");
    expect(await room.containers.start(id)).toBe("already-running");
    expect(room.runtime.launched).toHaveLength(1);
  });

  test("of an unknown command is 400, code 127, and undoes the networks", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["nope"] });
    const { kind, message } = await refusal(room.containers.start(id));
    expect(kind).toBe("invalid");
    expect(message).toEndWith('exec: "nope": executable file not found in $PATH');
    expect(room.containers.get(id).state).toEqual({ status: "created", error: message, exitCode: 127 });
    expect(room.story).toContain("networks disposed");
    expect(room.story).not.toContain("networks kept");
  });

  test("that fails removes a container with AutoRemove", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["nope"], HostConfig: { AutoRemove: true } });
    const gone = room.containers.wait(id, "removed", NEVER).then(({ result }) => result);
    await refusal(room.containers.start(id));
    expect((await gone).statusCode).toBe(127);
    expect(events(room)).toEqual(["container create", "container destroy"]);
  });

  const FAILURES: [
    errno: number,
    step: string,
    command: string | undefined,
    kind: string,
    code: number,
    ending: string,
  ][] = [
    [2, "execve", "/nope", "invalid", 127, 'exec: "/nope": stat /nope: no such file or directory'],
    [13, "execve", "/etc/passwd", "invalid", 126, 'exec: "/etc/passwd": permission denied'],
    [8, "execve", "/bin/arm", "internal", 128, "exec /bin/arm: exec format error"],
    [
      20,
      'mount "/a" at "/b"',
      undefined,
      "invalid",
      127,
      "Check if the specified host path exists and is the expected type",
    ],
    [12, "clone", undefined, "internal", 128, "clone: cannot allocate memory"],
  ];
  for (const [errno, step, command, kind, exitCode, ending] of FAILURES) {
    test(`that fails with errno ${errno} at ${step} is ${kind} and code ${exitCode}`, async () => {
      await using room = await createRoom();
      const id = await room.create({ Cmd: ["sleep"] });
      room.runtime.failure = new LaunchError(step, errno, command);
      const failure = await refusal(room.containers.start(id));
      expect(failure.kind).toBe(kind);
      expect(failure.message).toEndWith(ending);
      expect(room.containers.get(id).state).toMatchObject({ exitCode });
    });
  }

  test("hands the streams to those who attached before it", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] });
    const client = { stdout: true, stderr: true, write: () => {}, end: () => {} };
    room.registry.get(id).slot.attach(client);
    await room.containers.start(id);
    expect(room.stdios[0]?.clients).toEqual([client]);
  });
});

describe("stop", () => {
  test("sends the signal, waits for the end, and only then tells of the stop", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["trap"] });
    await room.containers.start(id);
    expect(await room.containers.stop(id, { signal: null, timeoutSec: null })).toBe("stopped");
    expect(events(room).slice(2)).toEqual(["container kill", "container die", "container stop"]);
    expect(room.containers.get(id)).toMatchObject({ hasBeenManuallyStopped: true, state: { exit: { exitCode: 0 } } });
    expect(await room.containers.stop(id, { signal: null, timeoutSec: null })).toBe("already-stopped");
  });

  test("kills what does not listen when its time is over", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"], StopTimeout: 7 });
    await room.containers.start(id);
    const stopped = room.containers.stop(id, { signal: null, timeoutSec: null });
    await until(() => room.clock.pending.length === 1);
    expect(room.clock.pending).toEqual([7_000]);
    room.clock.advance(7_000);
    await stopped;
    expect(room.runtime.tasks.get(id)?.signals).toEqual([15, 9]);
    expect(room.containers.get(id).state).toMatchObject({ exit: { exitCode: 137 } });
  });

  test("uses the container's signal, and the request's above it", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"], StopSignal: "SIGUSR1" });
    await room.containers.start(id);
    const stopped = room.containers.stop(id, { signal: "RTMIN+3", timeoutSec: 0 });
    await until(() => room.clock.pending.length === 1);
    room.clock.advance(0);
    await stopped;
    expect(room.runtime.tasks.get(id)?.signals).toEqual([37, 9]);
  });

  test("thaws a paused container so that it can act", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["trap"] });
    await room.containers.start(id);
    await room.containers.pause(id);
    expect(room.runtime.tasks.get(id)?.cgroup.isFrozen()).toBe(true);
    await room.containers.stop(id, { signal: null, timeoutSec: null });
    expect(room.runtime.tasks.get(id)?.cgroup.isFrozen()).toBe(false);
  });
});

describe("kill", () => {
  test("of a container that does not run is a conflict", async () => {
    await using room = await createRoom();
    const id = await room.create({}, "web");
    expect(await refusal(room.containers.kill("web", null))).toEqual({
      kind: "conflict",
      message: `cannot kill container: web: container ${id} is not running`,
    });
    expect(await refusal(room.containers.kill("web", "X"))).toEqual({ kind: "invalid", message: "invalid signal: X" });
  });

  test("by SIGHUP is no stop: the policy still restarts it", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"], HostConfig: { RestartPolicy: { Name: "always" } } });
    await room.containers.start(id);
    await room.containers.kill(id, "HUP");
    room.runtime.tasks.get(id)?.end(129, 1);
    await until(() => room.containers.get(id).state.status === "restarting");
    await room.containers.remove(id, { force: true, volumes: false, link: false });
  });
});

describe("restart policies", () => {
  test("bring a container back after the pause, and count", async () => {
    await using room = await createRoom();
    const id = await room.create({
      Cmd: ["false"],
      HostConfig: { RestartPolicy: { Name: "on-failure", MaximumRetryCount: 2 } },
    });
    await room.containers.start(id);
    await until(() => room.clock.pending.includes(100));
    expect(room.containers.get(id).state).toMatchObject({ status: "restarting", exit: { exitCode: 1 } });
    room.clock.advance(100);
    await until(() => room.clock.pending.includes(200));
    room.clock.advance(200);
    await until(() => room.containers.get(id).state.status === "exited");
    expect(room.containers.get(id).restartCount).toBe(2);
    expect(events(room)).toEqual([
      "container create",
      ...Array<string[]>(3).fill(["container start", "container die"]).flat(),
    ]);
  });

  test("are cancelled by a stop during the pause", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["false"], HostConfig: { RestartPolicy: { Name: "always" } } });
    await room.containers.start(id);
    await until(() => room.clock.pending.includes(100));
    expect(await room.containers.start(id)).toBe("already-running");
    expect(await room.containers.stop(id, { signal: null, timeoutSec: null })).toBe("stopped");
    expect(room.clock.pending).toEqual([]);
    expect(room.containers.get(id).state.status).toBe("exited");
  });

  test("do not act after a manual stop", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["trap"], HostConfig: { RestartPolicy: { Name: "always" } } });
    await room.containers.start(id);
    await room.containers.stop(id, { signal: null, timeoutSec: null });
    expect(room.containers.get(id).state.status).toBe("exited");
  });
});

test("restart is stop and start, and AutoRemove does not fire in between", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["trap"], HostConfig: { AutoRemove: true } });
  await room.containers.start(id);
  await room.containers.restart(id, { signal: null, timeoutSec: null });
  expect(room.containers.get(id).state.status).toBe("running");
  expect(events(room).slice(2)).toEqual([
    "container kill",
    "container die",
    "container stop",
    "container start",
    "container restart",
  ]);
});

describe("remove", () => {
  test("of a running container is refused, and forced by SIGKILL", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] }, "web");
    await room.containers.start(id);
    const options = { force: false, volumes: false, link: false };
    expect((await refusal(room.containers.remove("web", options))).message).toBe(
      'cannot remove container "/web": container is running: stop the container before removing or force remove',
    );
    await room.containers.remove("web", { ...options, force: true });
    expect(events(room).slice(2)).toEqual(["container kill", "container die", "container destroy"]);
    expect(await room.create({}, "web")).toHaveLength(64);
  });

  test("that fails leaves the container dead, and the next one removes it", async () => {
    await using room = await createRoom();
    const id = await room.create();
    const { discard } = room.hooks;
    room.hooks.discard = () => Promise.reject(new Error("busy"));
    expect(room.containers.remove(id, { force: false, volumes: false, link: false })).rejects.toThrow("busy");
    await until(() => room.containers.get(id).state.status === "dead");
    room.hooks.discard = discard;
    await room.containers.remove(id, { force: false, volumes: false, link: false });
    expect([...room.containers.all()]).toEqual([]);
  });

  test("twice at once is a conflict for the second", async () => {
    await using room = await createRoom();
    const id = await room.create();
    const blocked = Promise.withResolvers<void>();
    room.hooks.discard = () => blocked.promise;
    const first = room.containers.remove(id, { force: false, volumes: false, link: false });
    await until(() => room.containers.get(id).state.status === "removing");
    expect(await refusal(room.containers.remove(id, { force: true, volumes: false, link: false }))).toEqual({
      kind: "conflict",
      message: `removal of container ${id} is already in progress`,
    });
    blocked.resolve();
    await first;
  });
});

describe("names", () => {
  test("are refused while another container has them, with its ID", async () => {
    await using room = await createRoom();
    const id = await room.create({}, "web");
    expect(await refusal(room.create({}, "web"))).toEqual({
      kind: "conflict",
      message:
        `Conflict. The container name "/web" is already in use by container "${id}". ` +
        "You have to remove (or rename) that container to be able to reuse that name.",
    });
    expect((await refusal(room.create({}, "x"))).message).toBe(
      "Invalid container name (x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    );
  });

  test("change by rename; the old one is free then", async () => {
    await using room = await createRoom();
    await room.create({}, "web");
    await room.containers.rename("web", "app");
    expect(room.containers.get("/app").name).toBe("app");
    await room.create({}, "web");
    expect((await refusal(room.containers.rename("web", "app"))).kind).toBe("conflict");
    expect((await refusal(room.containers.rename("web", "web"))).message).toBe(
      "Renaming a container with the same name as its current name",
    );
    expect((await refusal(room.containers.rename("web", ""))).message).toBe("Neither old nor new names may be empty");
  });
});

describe("create", () => {
  test("of an unknown image is 404, and nothing is left behind", async () => {
    await using room = await createRoom();
    const missing = room.create({ Image: "nope" });
    expect(await refusal(missing)).toEqual({ kind: "notFound", message: "No such image: nope:latest" });
    expect(room.story).toEqual([]);
  });

  test("for another platform is the same 404", async () => {
    await using room = await createRoom();
    const body = { Image: "busybox" };
    const request = { name: null, platform: "linux/arm64", body: v.parse(ContainerCreate, body) };
    expect((await refusal(room.containers.create(request))).kind).toBe("notFound");
  });

  test("fills in what the request left out, and merges the image", async () => {
    await using room = await createRoom();
    const id = await room.create({ Env: ["A=mine"], Labels: { own: "1" }, HostConfig: { Memory: 64 << 20 } });
    const record = room.containers.get(id);
    expect(record.config).toMatchObject({
      Hostname: id.slice(0, 12),
      Env: ["A=mine", "B=image", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
      Labels: { own: "1", from: "image" },
      ExposedPorts: { "80/tcp": {} },
    });
    expect(record.hostConfig).toMatchObject({
      NetworkMode: "bridge",
      ShmSize: 67108864,
      IpcMode: "private",
      CgroupnsMode: "host",
      MemorySwap: 128 << 20,
      RestartPolicy: { Name: "no" },
      LogConfig: { Type: "json-file", Config: {} },
      Runtime: "runc",
      PidsLimit: null,
    });
    expect(record).toMatchObject({ path: "true", args: [], state: { status: "created" } });
  });

  test("without any command is refused", async () => {
    await using room = await createRoom();
    expect((await refusal(room.create({ Entrypoint: [""] }))).message).toBe("no command specified");
  });

  test("that fails gives back the name and what was made", async () => {
    await using room = await createRoom();
    room.deps.store.insert = () => Promise.reject(new Error("disk full"));
    expect(room.create({}, "web")).rejects.toThrow("disk full");
    await until(() => room.story.includes("files discarded"));
    expect(room.registry.isNameTaken("web")).toBe(false);
  });
});

describe("wait", () => {
  test("for not-running answers at once where nothing runs", async () => {
    await using room = await createRoom();
    const id = await room.create();
    expect(await (await room.containers.wait(id, "not-running", NEVER)).result).toEqual({ statusCode: 0, error: null });
  });

  test("ends with the client", async () => {
    await using room = await createRoom();
    const id = await room.create();
    const client = new AbortController();
    const { result } = await room.containers.wait(id, "next-exit", client.signal);
    client.abort();
    expect(result).rejects.toThrow();
    const live = room.registry.get(id);
    expect(live.onExit.size + live.onRemoved.size).toBe(0);
  });

  test("for the next exit is woken by a removal", async () => {
    await using room = await createRoom();
    const id = await room.create();
    const { result } = await room.containers.wait(id, "next-exit", NEVER);
    await room.containers.remove(id, { force: false, volumes: false, link: false });
    expect(await result).toEqual({ statusCode: 0, error: null });
  });
});

describe("update", () => {
  test("writes what is given and leaves the rest", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"], HostConfig: { Memory: 64 << 20, CpuShares: 5 } });
    await room.containers.start(id);
    const change = {
      ...v.parse(HostConfig, { Memory: 32 << 20 }),
      RestartPolicy: { Name: "always", MaximumRetryCount: 0 },
    };
    expect(await room.containers.update(id, change)).toEqual([]);
    expect(room.containers.get(id).hostConfig).toMatchObject({
      Memory: 32 << 20,
      CpuShares: 5,
      RestartPolicy: { Name: "always" },
    });
    expect(room.runtime.tasks.get(id)?.cgroup.updates).toEqual([
      { devices: expect.anything(), memory: { limit: 32 << 20, swap: 128 << 20 } },
    ]);
  });
});

test("prune removes what does not run and tells how much came back", async () => {
  await using room = await createRoom();
  const idle = await room.create();
  const busy = await room.create({ Cmd: ["sleep"] });
  await room.containers.start(busy);
  expect(await room.containers.prune(new Map())).toEqual({ deleted: [idle], spaceReclaimed: 10 });
  expect([...room.containers.all()].map(({ id }) => id as string)).toEqual([busy]);
});

describe("when the engine comes back", () => {
  test("what still runs is taken up, what ended meanwhile is dealt with, and policies act", async () => {
    const room = await createRoom();
    const running = await room.create({ Cmd: ["sleep"] });
    const ended = await room.create({ Cmd: ["sleep"] });
    const always = await room.create({ Cmd: ["sleep"], HostConfig: { RestartPolicy: { Name: "always" } } });
    for (const id of [running, ended, always]) await room.containers.start(id);
    await room.containers.kill(always, null);
    await until(() => room.containers.get(always).state.status === "exited");
    room.containers.close();
    room.runtime.tasks.get(ended)?.end(4);

    await using again = await createRoom({ runtime: room.runtime, directory: room.config.dataRoot });
    await again.containers.load();
    expect([...again.containers.all()]).toHaveLength(3);
    await again.containers.regain();
    await until(() => again.containers.get(ended).state.status === "exited");
    expect(again.containers.get(ended).state).toMatchObject({ exit: { exitCode: 4 } });
    await until(() => again.containers.get(always).state.status === "running");
    expect(again.story.filter((line) => line === "networks regained")).toHaveLength(2);
    expect(await again.containers.stop(running, { signal: "KILL", timeoutSec: 1 })).toBe("stopped");
    await room[Symbol.asyncDispose]();
  });

  test("what was launched and never written down is ended", async () => {
    const room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] });
    // The daemon is killed when the workload runs and its row does not say so yet.
    const { record } = room.registry.get(id);
    await room.containers.start(id);
    await room.store.update(record);
    room.containers.close();

    await using again = await createRoom({ runtime: room.runtime, directory: room.config.dataRoot });
    await again.containers.load();
    expect(await room.runtime.tasks.get(id)?.exited).toMatchObject({ exitCode: 137 });
    expect(again.containers.get(id).state.status).toBe("created");
    expect(existsSync(`${room.config.execRoot}/containers/${id}`)).toBe(false);
    await room[Symbol.asyncDispose]();
  });

  test("a shim that is gone leaves an exit of 255", async () => {
    const room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] });
    await room.containers.start(id);
    room.containers.close();
    room.runtime.tasks.clear();
    await using again = await createRoom({ runtime: room.runtime, directory: room.config.dataRoot });
    await again.containers.load();
    await again.containers.regain();
    expect(again.containers.get(id).state).toMatchObject({ status: "exited", exit: { exitCode: 255 } });
    await room[Symbol.asyncDispose]();
  });
});

// What happens when two things happen to one container at once, and when the engine ends or dies in the middle of one.
import { expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { createRoom, type Room, until } from "../../../support/engine_room.ts";

const NEVER = new AbortController().signal;

/** From here on no row can be written, as on a full disk. */
function fillDisk(room: Room): void {
  room.store.updateLife = room.store.update = () => Promise.reject(new Error("database or disk is full"));
}

/** Another engine over the same rows and the same processes. */
async function engineAgain(room: Room): Promise<Room> {
  room.containers.close();
  return await createRoom({ runtime: room.runtime, directory: room.config.dataRoot });
}

test("rm -f beside a start that goes on removes what was started", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["sleep"] });
  const [started, removed] = await Promise.allSettled([
    room.containers.start(id),
    room.containers.remove(id, { force: true, volumes: false, link: false }),
  ]);
  expect(started.status).toBe("fulfilled");
  expect(removed).toEqual({ status: "fulfilled", value: undefined });
  expect([...room.containers.all()]).toEqual([]);
});

test("two restarts at once leave a container with AutoRemove in place", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["sleep"], HostConfig: { AutoRemove: true } });
  await room.containers.start(id);
  const options = { signal: "KILL", timeoutSec: 1 };
  await Promise.all([room.containers.restart(id, options), room.containers.restart(id, options)]);
  expect(room.containers.get(id).state.status).toBe("running");
});

test("a stop works while no row can be written", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["trap"] });
  await room.containers.start(id);
  await room.containers.pause(id);
  fillDisk(room);
  expect(await room.containers.stop(id, { signal: null, timeoutSec: 1 })).toBe("stopped");
  expect(room.containers.get(id)).toMatchObject({ hasBeenManuallyStopped: true, state: { status: "exited" } });
});

test("a container whose start cannot be written down does not run on, and those who attached hear of it", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["sleep"] });
  fillDisk(room);
  await expect(room.containers.start(id)).rejects.toThrow("database or disk is full");
  await until(() => room.stdios[0]?.isClosed === true);
  expect(await room.runtime.tasks.get(id)?.exited).toMatchObject({ exitCode: 137 });
  expect(room.runtime.tasks.get(id)?.isDisposed).toBe(true);
  expect(room.containers.get(id).state.status).toBe("created");
});

test("a policy's restart that fails wakes those who wait for the end", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["exit", "3"], HostConfig: { RestartPolicy: { Name: "always" } } });
  await room.containers.start(id);
  await until(() => room.containers.get(id).state.status === "restarting");
  const { result } = await room.containers.wait(id, "not-running", NEVER);
  room.runtime.failure = new Error("no room");
  room.clock.advance(100);
  expect((await result).statusCode).toBe(128);
  expect(room.containers.get(id).state.status).toBe("exited");
});

test("the end of the engine is no manual stop, and none is written down on the way", async () => {
  await using room = await createRoom();
  const policy = { RestartPolicy: { Name: "unless-stopped" } };
  const id = await room.create({ Cmd: ["trap"], HostConfig: policy });
  await room.containers.start(id);
  const { update } = room.store;
  const marks: boolean[] = [];
  room.store.updateLife = room.store.update = (record) => {
    marks.push(record.hasBeenManuallyStopped);
    return update(record);
  };
  await room.containers.stopAll(15_000);
  expect(marks).not.toContain(true);
  expect(room.containers.get(id).state.status).toBe("exited");
  await using again = await engineAgain(room);
  await again.containers.load();
  await again.containers.regain();
  await until(() => again.containers.get(id).state.status === "running");
});

test("the end of the engine gives a container its own time-out, ten seconds by default", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["sleep"] });
  await room.containers.start(id);
  const stopped = room.containers.stopAll(15_000);
  await until(() => room.clock.pending.length > 0);
  expect(room.clock.pending).toEqual([10_000]);
  room.clock.advance(10_000);
  await stopped;
  expect(room.runtime.tasks.get(id)?.signals).toEqual([15, 9]);
});

test("a container that comes back with the engine after a manual stop is restarted by its policy again", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["sleep"], HostConfig: { RestartPolicy: { Name: "always" } } });
  await room.containers.start(id);
  await room.containers.kill(id, null);
  await using again = await engineAgain(room);
  await again.containers.load();
  await again.containers.regain();
  await until(() => again.containers.get(id).state.status === "running");
  expect(again.containers.get(id)).toMatchObject({ hasBeenManuallyStopped: false, restartCount: 0 });
  again.runtime.tasks.get(id)?.end(1);
  await until(() => again.containers.get(id).state.status === "restarting");
});

test("a removal that a crash cut short after the directory is finished by the next engine", async () => {
  await using room = await createRoom();
  const id = await room.create({}, "gone");
  rmSync(`${room.config.dataRoot}/containers/${id}`, { recursive: true });
  await using again = await engineAgain(room);
  await again.containers.load();
  expect([...again.containers.all()]).toEqual([]);
  expect((await again.store.all()).records).toEqual([]);
  await again.create({}, "gone");
});

test("a running container that cannot be taken up again does not run on beside a row that calls it down", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["sleep"] });
  await room.containers.start(id);
  await using again = await engineAgain(room);
  await again.containers.load();
  again.deps.images.rootfsLayers = () => Promise.reject(new Error("the image is damaged"));
  await again.containers.regain();
  expect(again.containers.get(id).state).toMatchObject({ status: "exited", exit: { exitCode: 255 } });
  expect(await room.runtime.tasks.get(id)?.exited).toMatchObject({ exitCode: 137 });
});

test("a running container whose networks cannot be taken up again runs on", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["sleep"] });
  await room.containers.start(id);
  await using again = await engineAgain(room);
  await again.containers.load();
  again.deps.networking.regain = () => Promise.reject(new Error("the port is taken"));
  await again.containers.regain();
  expect(again.containers.get(id).state.status).toBe("running");
});

test("prune leaves anonymous volumes where they are", async () => {
  await using room = await createRoom();
  const removed: string[] = [];
  room.deps.mounts.removeAnonymous = async ({ id }) => void removed.push(id);
  const id = await room.create();
  expect((await room.containers.prune(new Map())).deleted).toEqual([id]);
  expect(removed).toEqual([]);
});

test("a pause that a crash kept out of the row is found again in the freezer, and so is its end", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["trap"] });
  await room.containers.start(id);
  await room.runtime.tasks.get(id)?.cgroup.freeze();
  await using again = await engineAgain(room);
  await again.containers.load();
  await again.containers.regain();
  expect(again.containers.get(id).state.status).toBe("paused");
  await again.runtime.tasks.get(id)?.cgroup.thaw();
  await using third = await engineAgain(again);
  await third.containers.load();
  await third.containers.regain();
  expect(third.containers.get(id).state.status).toBe("running");
});
test("a stray that cannot be ended does not keep the engine from starting", async () => {
  await using room = await createRoom();
  const id = await room.create({ Cmd: ["sleep"] });
  mkdirSync(`${room.config.execRoot}/containers/${id}`, { recursive: true });
  await using again = await engineAgain(room);
  again.runtime.endStrays = () => Promise.reject(new Error("cgroup busy"));
  await again.containers.load();
  expect(again.containers.get(id).state.status).toBe("created");
});

// A daemon that is killed: its containers run on, and the next one finds their streams and their end.
import { afterAll, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Bundle } from "../../../runtime/bundle.ts";
import type { LaunchRequest, Task, TaskRecord } from "../../../runtime/mod.ts";
import { readOnce, writeAll } from "../../../runtime/sys/file.ts";
import { type BundleChanges, ContainerRoom, isRunning, readStreams, until } from "../../support/container_room.ts";

const room = new ContainerRoom("regain");
afterAll(() => room[Symbol.asyncDispose]());

/** Launches from a process that is killed as soon as the container runs. */
async function launchAndDie(bundle: Bundle, changes: Partial<LaunchRequest> = {}): Promise<TaskRecord> {
  const script = join(import.meta.dir, "../../support/launch_child.ts");
  const request = JSON.stringify(room.request(bundle, changes));
  const child = Bun.spawn([process.execPath, script, room.directory, request], { stdout: "pipe", stderr: "inherit" });
  const reader = child.stdout.getReader();
  let line = "";
  while (!line.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the child ended without a record");
    line += Buffer.from(value).toString();
  }
  child.kill("SIGKILL");
  await child.exited;
  return JSON.parse(line) as TaskRecord;
}

const sh = (script: string, changes: BundleChanges = {}): Bundle => room.bundle(["sh", "-c", script], changes);

async function end(task: Task): Promise<void> {
  await room.finish(task);
}

test("output written while no daemon ran is there, in order, and the exit code arrives", async () => {
  const record = await launchAndDie(sh("for i in 1 2 3; do echo $i; done; echo err >&2; read x; echo got $x; exit 9"), {
    hasStdin: true,
  });
  expect(isRunning(record.pid)).toBe(true);
  const task = await room.runtime.regain(record);
  const output = readStreams(task.streams);
  if (!task.streams.stdin) throw new Error("no stdin");
  writeAll(task.streams.stdin, Buffer.from("hello\n"));
  expect(await task.exited).toMatchObject({ exitCode: 9, signal: null });
  expect(await output).toEqual({ stdout: "1\n2\n3\ngot hello\n", stderr: "err\n" });
  await end(task);
});

test("a container that ended while no daemon ran leaves its last words and its code", async () => {
  const record = await launchAndDie(sh("sleep 0.2; echo last words; exit 5"));
  await until(() => !isRunning(record.pid), "the end of the container");
  const task = await room.runtime.regain(record);
  const output = readStreams(task.streams);
  expect(await task.exited).toMatchObject({ exitCode: 5, signal: null });
  expect((await output).stdout).toBe("last words\n");
  await end(task);
  expect(isRunning(record.shimPid)).toBe(false);
  // Once more, with the shim gone: the exit file still knows.
  const again = await room.runtime.regain(record);
  expect(await again.exited).toMatchObject({ exitCode: 5 });
  expect(again.streams).toEqual({ stdin: null, stdout: null, stderr: null, terminal: null, staging: null });
  again[Symbol.dispose]();
});

test("what lies in the staging pipe survives", async () => {
  const bundle = sh("read x");
  const task = await room.launch(bundle, { hasStdin: true });
  if (!task.streams.staging) throw new Error("no staging pipe");
  writeAll(task.streams.staging.write, Buffer.from("in flight"));
  const { record } = task;
  task[Symbol.dispose]();
  expect(isRunning(record.pid)).toBe(true);
  const next = await room.runtime.regain(record);
  const buffer = new Uint8Array(100);
  if (!next.streams.staging) throw new Error("no staging pipe");
  const count = readOnce(next.streams.staging.read, buffer) ?? 0;
  expect(Buffer.from(buffer.subarray(0, count)).toString()).toBe("in flight");
  expect(readOnce(next.streams.staging.read, buffer)).toBeNull();
  next.dropStdin();
  next.streams.stdin?.close();
  expect(await next.exited).toMatchObject({ exitCode: 1 });
  await end(next);
});

test("a terminal is the same terminal afterwards", async () => {
  const record = await launchAndDie(sh("echo before; read x; stty size; tty; exit 4", { process: { terminal: true } }));
  const task = await room.runtime.regain(record);
  const { terminal } = task.streams;
  if (!terminal) throw new Error("no terminal");
  task.resize(33, 66);
  writeAll(terminal, Buffer.from("go\n"));
  expect(await task.exited).toMatchObject({ exitCode: 4 });
  let text = "";
  try {
    for await (const chunk of Bun.file(terminal.number).stream()) text += Buffer.from(chunk).toString();
  } catch {
    // EIO: the end of a terminal.
  }
  expect(text.replaceAll("\r", "")).toBe("before\ngo\n33 66\n/dev/pts/0\n");
  await end(task);
});

test("when the shim is killed the container is killed too, and counts as killed", async () => {
  const task = await room.launch(room.bundle(["sleep", "100"]));
  process.kill(task.record.shimPid, "SIGKILL");
  expect(await task.exited).toMatchObject({ exitCode: 137, signal: 9 });
  await until(() => !isRunning(task.pid), "the end of the container");
  await end(task);
});

test("a record whose shim's pid belongs to another process now is not taken for it", async () => {
  const record: TaskRecord = {
    id: "other",
    pid: 1,
    shimPid: process.pid,
    shimStartTime: "1",
    hasTerminal: false,
    hasStdin: false,
    exitFile: join(room.directory, "no such file"),
    cgroupPath: `${room.cgroupParent}/other`,
  };
  const task = await room.runtime.regain(record);
  task.signal(0);
  expect(await task.exited).toMatchObject({ exitCode: 137, signal: 9 });
  expect(task.streams.stdout).toBeNull();
  task[Symbol.dispose]();
});

test("a shim whose exit file is removed goes by itself: nobody can find it any more", async () => {
  const task = await room.launch(room.bundle(["true"]));
  await task.exited;
  const { shimPid, exitFile } = task.record;
  expect(isRunning(shimPid)).toBe(true);
  // As if its daemon had been killed: it is never dismissed. It looks every two seconds.
  rmSync(exitFile);
  await until(() => !isRunning(shimPid), "the shim's end");
  task[Symbol.dispose]();
  await task.cgroup.remove();
});

test("strays are ended, one that cannot be spares no other, and its failure is told", async () => {
  const bundles = [room.bundle(["sleep", "100"]), room.bundle(["sleep", "100"])];
  const tasks = await Promise.all(bundles.map((bundle) => room.launch(bundle)));
  const strays = new Map([
    ["nowhere", `${room.cgroupParent}/a\0b`],
    ...tasks.map(({ record }): [string, string] => [record.id, record.cgroupPath]),
  ]);
  expect(await room.runtime.endStrays(strays).catch((error: unknown) => error)).toBeInstanceOf(AggregateError);
  for (const { record } of tasks) {
    await until(() => !isRunning(record.pid) && !isRunning(record.shimPid), "the end of both");
    expect(await room.runtime.endStrays(new Map([[record.id, record.cgroupPath]]))).toBeUndefined();
  }
  for (const task of tasks) task[Symbol.dispose]();
});

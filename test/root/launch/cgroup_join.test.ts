// Joining a cgroup by `tasks` moves the joining thread alone: everything that runs in a container, its threads and the
// children of its exec sessions too, must still be in the container's cgroup, in every hierarchy.
import { afterAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename, dirname } from "node:path";
import process from "node:process";
import type { OciMount } from "../../../runtime/bundle.ts";
import type { Task } from "../../../runtime/mod.ts";
import { ContainerRoom, until } from "../../support/container_room.ts";
import { execRequest } from "../../support/exec_request.ts";

const room = new ContainerRoom("cgroup-join");
afterAll(() => room[Symbol.asyncDispose]());

const bind = (source: string, destination: string): OciMount => ({
  destination,
  type: "bind",
  source,
  options: ["rbind", "ro"],
});
/** This machine's Bun, a program with threads, and the libraries it needs. */
const THREADED = [
  ...["/lib", "/lib64", "/usr/lib"].map((path) => bind(path, path)),
  bind(dirname(process.execPath), "/bun"),
];
const PROGRAM = [`/bun/${basename(process.execPath)}`, "-e", "setInterval(() => {}, 1000)"];

/** The cgroups of a process' threads in the hierarchies that limit or count for us. */
function cgroupsOf(pid: number): { paths: Set<string>; threads: number } {
  const { facts } = room.runtime;
  const isOurs = (names: string): boolean =>
    facts.cgroupVersion === 2 ? names === "" : names.split(",").some((name) => facts.controllers.has(name));
  const threads = readdirSync(`/proc/${pid}/task`);
  const paths = threads.flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/cgroup`, "utf8")
      .trim()
      .split("\n")
      .flatMap((line) => {
        const [, names = "", path = ""] = line.split(":");
        return isOurs(names) ? [path] : [];
      }),
  );
  return { paths: new Set(paths), threads: threads.length };
}

/** Every process of the container's pid namespace, by the host's numbers. */
function processesOf(task: Task): number[] {
  const namespaceOf = (pid: number): string => {
    try {
      return readlinkSync(`/proc/${pid}/ns/pid`);
    } catch {
      return "";
    }
  };
  const wanted = namespaceOf(task.pid);
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 1 && namespaceOf(pid) === wanted);
}

test("threads, and children of exec sessions, are in the container's cgroup everywhere", async () => {
  const bundle = room.bundle(PROGRAM, { mounts: THREADED });
  const task = await room.launch(bundle);
  using shell = await room.runtime.exec(
    task,
    execRequest(bundle, ["sh", "-c", "sleep 100 & (sleep 100 & wait) & wait"]),
  );
  using threaded = await room.runtime.exec(task, execRequest(bundle, PROGRAM));
  await until(() => processesOf(task).length === 6, "all processes");
  await until(() => [task.pid, threaded.pid].every((pid) => cgroupsOf(pid).threads > 1), "threads");
  for (const pid of processesOf(task)) expect([...cgroupsOf(pid).paths]).toEqual([task.cgroup.path]);
  expect(task.cgroup.pids().toSorted((a, b) => a - b)).toEqual(processesOf(task).toSorted((a, b) => a - b));
  task.signal(9);
  await Promise.all([shell.exited, threaded.exited]);
  await room.finish(task);
});

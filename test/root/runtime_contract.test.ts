// The Runtime contract on the real kernel, and the init of `--init`, which the fake does not have.
import { afterAll, describe, expect, test } from "bun:test";
import { runtimeContract } from "../contract/runtime.ts";
import { ContainerRoom, isRunning, readStreams, until } from "../support/container_room.ts";

const room = new ContainerRoom("contract");
afterAll(() => room[Symbol.asyncDispose]());

runtimeContract("the kernel", () => ({
  runtime: room.runtime,
  bundle: (args) => room.bundle(args),
  launch: (bundle, options) => room.launch(bundle, options),
  finish: (task) => room.finish(task),
  exits: (code) => ["sh", "-c", `exit ${code}`],
}));

describe("an init of our own", () => {
  const init = { hasInit: true };

  test("passes the workload's exit code on, and 128 and the number of a signal", async () => {
    for (const code of [0, 1, 7, 255]) expect((await room.sh(`exit ${code}`, {}, init)).exit.exitCode).toBe(code);
    for (const signal of [6, 9, 15])
      expect((await room.sh(`kill -${signal} $$`, {}, init)).exit.exitCode).toBe(128 + signal);
  });

  test("is process 1, and the workload its child in a process group of its own", async () => {
    const { stdout } = await room.sh("cat /proc/1/comm; echo $$ $PPID; cut -d' ' -f5 /proc/self/stat", {}, init);
    const [comm, pids = "", group] = stdout.trim().split("\n");
    expect(comm).toBe("docker-init");
    expect(pids).toEndWith(" 1");
    expect(group).toBe(pids.split(" ")[0] ?? "");
  });

  test("forwards signals: what listens acts, what does not dies of them", async () => {
    const task = await room.launch(room.bundle(["sleep", "1000"]), init);
    task.signal(15);
    expect((await task.exited).exitCode).toBe(143);
    await room.finish(task);
    const script = 'trap "exit 9" USR1; echo ready; while :; do sleep 0.01; done';
    const listener = await room.launch(room.bundle(["sh", "-c", script]), init);
    const output = readStreams(listener.streams);
    await until(() => listener.cgroup.pids().length >= 3);
    listener.signal(10);
    expect((await listener.exited).exitCode).toBe(9);
    expect((await output).stdout).toBe("ready\n");
    await room.finish(listener);
  });

  test("reaps what the workload leaves behind", async () => {
    const script =
      "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; sleep 0.3; grep -l '^State:.Z' /proc/[0-9]*/status; echo none";
    expect((await room.sh(script, {}, init)).stdout).toBe("none\n");
  });

  test("has the workload's rights and filter, not the runtime's", async () => {
    const { stdout } = await room.sh(
      "grep -E '^(CapEff|CapBnd|Seccomp|Uid):' /proc/1/status; echo; grep -E '^(CapEff|CapBnd|Seccomp|Uid):' /proc/self/status",
      {},
      {
        ...init,
        user: "alice",
      },
    );
    const [own, workload] = stdout.trim().split("\n\n");
    expect(own).toContain("Uid:\t1000");
    expect(own).toContain("Seccomp:\t2");
    expect(own).toBe(workload ?? "");
  });

  test("says when the command is not there", async () => {
    expect(room.launch(room.bundle(["nope"]), init)).rejects.toMatchObject({ errno: 2, command: "nope" });
  });
});

test("strays are ended with their shim and cgroup; what is not there is no mistake", async () => {
  const task = await room.launch(room.bundle(["sleep", "1000"]));
  const { id, shimPid } = task.record;
  await room.runtime.endStrays(
    new Map([
      [id, task.cgroup.path],
      ["nobody", `${room.cgroupParent}/nobody`],
    ]),
  );
  expect((await task.exited).exitCode).toBe(137);
  await until(() => !isRunning(shimPid));
  task[Symbol.dispose]();
});

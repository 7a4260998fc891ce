// What every Runtime promises to the engine: one suite, run on the real kernel (test/root/runtime_contract.test.ts) and on
// the fake (test/unit/support/fake_runtime.test.ts), which keeps the fake honest.
import { describe, expect, test } from "bun:test";
import { type Bundle, LaunchError, type Runtime, type Task } from "../../runtime/mod.ts";
import { execRequest } from "../support/exec_request.ts";

export interface RuntimeRoom {
  readonly runtime: Runtime;
  bundle(args: string[]): Bundle;
  launch(bundle: Bundle, options?: { hasInit?: boolean }): Promise<Task>;
  /** Takes away what an ended task leaves. */
  finish(task: Task): Promise<void>;
  /** A command that ends with this code. */
  exits(code: number): string[];
}

const SIGTERM = 15,
  SIGKILL = 9,
  ENOENT = 2;

/** `room` is asked in each test, so that making it may take a hook. */
export function runtimeContract(name: string, room: () => RuntimeRoom): void {
  const run = (args: string[]): Promise<Task> => room().launch(room().bundle(args));
  const end = async (task: Task): Promise<void> => {
    task.signal(SIGKILL);
    await room().finish(task);
  };
  describe(`${name}: a task`, () => {
    test("ends with its code", async () => {
      const task = await run(room().exits(7));
      expect(await task.exited).toMatchObject({ exitCode: 7, signal: null, oomKilled: false });
      await room().finish(task);
    });

    test("is known by a record that survives JSON", async () => {
      const task = await run(["sleep", "1000"]);
      expect(task.record).toMatchObject({ pid: task.pid, hasTerminal: false, cgroupPath: task.cgroup.path });
      expect(JSON.parse(JSON.stringify(task.record))).toEqual(task.record);
      await end(task);
    });

    test("dies by SIGKILL with 137, and takes no signal after that", async () => {
      const task = await run(["sleep", "1000"]);
      task.signal(SIGKILL);
      expect(await task.exited).toMatchObject({ exitCode: 137, signal: SIGKILL });
      expect(() => task.signal(SIGTERM)).not.toThrow();
      await room().finish(task);
    });

    test("ignores SIGTERM as process 1, unless it listens", async () => {
      const task = await run(["sleep", "1000"]);
      task.signal(SIGTERM);
      expect(task.cgroup.pids()).toEqual([task.pid]);
      await end(task);
    });

    test("is never started when its command is not there", async () => {
      const bundle = room().bundle(["nope"]);
      const failure = await room()
        .launch(bundle)
        .then(
          () => null,
          (error: unknown) => error,
        );
      expect(failure).toBeInstanceOf(LaunchError);
      expect(failure).toMatchObject({ errno: ENOENT, command: "nope" });
    });

    test("is frozen, thawed and killed by its cgroup", async () => {
      const task = await run(["sleep", "1000"]);
      expect(task.cgroup.isFrozen()).toBe(false);
      await task.cgroup.freeze();
      expect(task.cgroup.isFrozen()).toBe(true);
      await task.cgroup.thaw();
      expect(task.cgroup.isFrozen()).toBe(false);
      await task.cgroup.kill();
      expect(await task.exited).toMatchObject({ exitCode: 137 });
      expect(task.cgroup.oomKills()).toBe(0);
      await room().finish(task);
    });

    test("is found again by its record, running or ended, once the first handle is let go", async () => {
      const task = await run(["sleep", "1000"]);
      const { record } = task;
      task[Symbol.dispose]();
      const again = await room().runtime.regain(record);
      expect(again.pid).toBe(record.pid);
      again.signal(SIGKILL);
      expect(await again.exited).toMatchObject({ exitCode: 137 });
      using ended = await room().runtime.regain(record);
      expect(await ended.exited).toMatchObject({ exitCode: 137 });
      await room().finish(again);
    });
  });

  describe(`${name}: an exec session`, () => {
    test("runs beside the task, which goes on", async () => {
      const bundle = room().bundle(["sleep", "1000"]);
      const task = await room().launch(bundle);
      using session = await room().runtime.exec(task, execRequest(bundle, room().exits(3)));
      expect(await session.exited).toMatchObject({ exitCode: 3 });
      expect(task.cgroup.pids()).toContain(task.pid);
      await end(task);
    });

    test("is never started when its command is not there", async () => {
      const bundle = room().bundle(["sleep", "1000"]);
      const task = await room().launch(bundle);
      const failure = await room()
        .runtime.exec(task, execRequest(bundle, ["nope"]))
        .then(
          () => null,
          (error: unknown) => error,
        );
      expect(failure).toMatchObject({ name: "LaunchError", errno: ENOENT, command: "nope" });
      await end(task);
    });

    test("dies by a signal, and with its container", async () => {
      const bundle = room().bundle(["sleep", "1000"]);
      const task = await room().launch(bundle);
      using first = await room().runtime.exec(task, execRequest(bundle, ["sleep", "1000"]));
      using second = await room().runtime.exec(task, execRequest(bundle, ["sleep", "1000"]));
      first.signal(SIGTERM);
      expect(await first.exited).toMatchObject({ exitCode: 143 });
      await end(task);
      expect(await second.exited).toMatchObject({ exitCode: 137 });
    });
  });
}

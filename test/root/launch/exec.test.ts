// Exec sessions: a process started in a running container.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import type { Bundle } from "../../../runtime/bundle.ts";
import type { ExecRequest, Task } from "../../../runtime/mod.ts";
import { E } from "../../../runtime/sys/errno.ts";
import { writeAll } from "../../../runtime/sys/file.ts";
import { ContainerRoom, readStreams, until } from "../../support/container_room.ts";
import { execRequest } from "../../support/exec_request.ts";

const room = new ContainerRoom("exec");
let bundle: Bundle;
let task: Task;
beforeAll(async () => {
  bundle = room.bundle(["sleep", "1000"], { process: { oomScoreAdj: 100 } });
  task = await room.launch(bundle);
});
afterAll(async () => {
  task.signal(9);
  await room.finish(task);
  await room[Symbol.asyncDispose]();
});

const request = (args: string[], changes: Partial<ExecRequest> = {}): ExecRequest => execRequest(bundle, args, changes);

async function run(args: string[], changes: Partial<ExecRequest> = {}) {
  using session = await room.runtime.exec(task, request(args, changes));
  const output = readStreams(session.streams);
  const exit = await session.exited;
  return { ...(await output), exit };
}

const sh = async (script: string, changes: Partial<ExecRequest> = {}): Promise<string> => {
  const { stdout, stderr } = await run(["sh", "-c", script], changes);
  return (stdout + stderr).trim();
};

test("output, exit code and signals", async () => {
  expect(await run(["sh", "-c", "echo out; echo err >&2; exit 3"])).toMatchObject({
    stdout: "out\n",
    stderr: "err\n",
    exit: { exitCode: 3, signal: null },
  });
  using session = await room.runtime.exec(task, request(["sleep", "100"]));
  session.signal(15);
  expect(await session.exited).toMatchObject({ exitCode: 143, signal: 15 });
});

test("it is in the container's namespaces and cgroup, with its limits, filter and score", async () => {
  expect(await sh("hostname; ps -o comm | grep -c sleep")).toBe(`${bundle.spec.hostname}\n1`);
  expect(await sh("cat /proc/self/cgroup | cut -d: -f3 | sort -u")).toBe("/");
  expect(
    await sh(
      "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | cut -f2 | tr '\\n' ' '; ulimit -n; cat /proc/self/oom_score_adj",
    ),
  ).toBe("00000000a80425fb 0 2 1024\n100");
  const session = await room.runtime.exec(task, request(["sleep", "100"]));
  expect(task.cgroup.pids()).toContain(session.pid);
  session.signal(9);
  await session.exited;
  session[Symbol.dispose]();
});

test("user, groups, environment and directory are its own", async () => {
  expect(
    await sh("id; env | sort | head -2; pwd", {
      user: "alice",
      groupAdd: ["wheel"],
      cwd: "/tmp",
      env: ["PATH=/bin", "A=1"],
    }),
  ).toBe("uid=1000(alice) gid=1000(alice) groups=10(wheel),77(extra),1000(alice)\nA=1\nHOME=/home/alice\n/tmp");
});

test("privileged: all capabilities that the daemon has, and no filter", async () => {
  const bounding = /^CapBnd:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
  expect(await sh("grep -E 'CapEff|Seccomp:' /proc/self/status | cut -f2 | tr '\\n' ' '", { privileged: true })).toBe(
    `${bounding} 0`,
  );
});

test("stdin ends when ours is closed", async () => {
  using session = await room.runtime.exec(task, request(["cat"], { hasStdin: true }));
  const output = readStreams(session.streams);
  if (!session.streams.stdin) throw new Error("no stdin");
  writeAll(session.streams.stdin, Buffer.from("through"));
  session.dropStdin();
  session.streams.stdin.close();
  expect(await session.exited).toMatchObject({ exitCode: 0 });
  expect((await output).stdout).toBe("through");
});

test("a terminal is one of the container's own, with its size and job control", async () => {
  using session = await room.runtime.exec(
    task,
    request(["sh", "-c", "tty; stty size; read x; stty size; echo $x; exit 6"], {
      terminal: { rows: 20, columns: 70 },
    }),
  );
  const { terminal } = session.streams;
  if (!terminal) throw new Error("no terminal");
  let text = "";
  const reading = (async () => {
    try {
      for await (const chunk of Bun.file(terminal.number).stream()) text += Buffer.from(chunk).toString();
    } catch {
      // EIO: the end of a terminal.
    }
  })();
  await until(() => text.includes("20 70"), "the first size");
  expect(text).toStartWith("/dev/pts/0\r\n");
  session.resize(21, 71);
  writeAll(terminal, Buffer.from("done\n"));
  expect(await session.exited).toMatchObject({ exitCode: 6 });
  await reading;
  expect(text).toContain("21 71\r\ndone\r\n");
});

test("with a terminal, dropping it hangs the session up", async () => {
  const session = await room.runtime.exec(task, request(["sh"], { terminal: { rows: 20, columns: 70 } }));
  session.streams.terminal?.close();
  expect((await session.exited).signal).not.toBeNull();
  session[Symbol.dispose]();
});

describe("failures", () => {
  const failure = async (args: string[], changes: Partial<ExecRequest> = {}): Promise<unknown> => {
    await run(["true"]);
    const before = readdirSync("/proc/self/fd").length;
    const error: unknown = await room.runtime.exec(task, request(args, changes)).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    await until(() => readdirSync("/proc/self/fd").length <= before, "the number of descriptors as before");
    await until(() => task.cgroup.pids().length === 1, "the container alone in its cgroup");
    return error;
  };

  test("a command or a directory that is not there", async () => {
    expect(await failure(["nope"])).toMatchObject({ command: "nope", errno: E.ENOENT });
    expect(await failure(["/etc/passwd"])).toMatchObject({ command: "/etc/passwd", errno: E.EACCES });
    expect(await failure(["/etc"])).toMatchObject({ command: "/etc", errno: E.EISDIR });
    expect(await failure(["true"], { cwd: "/nope" })).toMatchObject({
      step: 'chdir to cwd ("/nope") set in config.json failed',
      errno: E.ENOENT,
    });
  });

  test("a user that is not there", async () => {
    expect(String(await failure(["true"], { user: "bob" }))).toContain(
      "unable to find user bob: no matching entries in passwd file",
    );
  });

  test("a command that is not there, with a terminal", async () => {
    expect(await failure(["nope"], { terminal: { rows: 1, columns: 1 } })).toMatchObject({
      command: "nope",
      errno: E.ENOENT,
    });
  });

  test("a container that has ended", async () => {
    const ended = await room.launch(room.bundle(["true"]));
    await room.finish(ended);
    expect(await room.runtime.exec(ended, request(["true"])).catch((thrown: unknown) => thrown)).toMatchObject({
      errno: E.ESRCH,
    });
  });
});

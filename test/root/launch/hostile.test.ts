// What a hostile image or container tries: to reach the host by descriptors, links and look-alikes of /proc.
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Bundle, OciMount } from "../../../runtime/bundle.ts";
import type { ExecRequest, Task } from "../../../runtime/mod.ts";
import { syscall } from "../../../runtime/sys/ffi.ts";
import { O, openPath } from "../../../runtime/sys/file.ts";
import { ContainerRoom, readStreams } from "../../support/container_room.ts";
import { execRequest } from "../../support/exec_request.ts";

const room = new ContainerRoom("hostile");
afterAll(() => room[Symbol.asyncDispose]());

async function execute(task: Task, asked: ExecRequest): Promise<string> {
  using session = await room.runtime.exec(task, asked);
  const { stdout, stderr } = await readStreams(session.streams);
  await session.exited;
  return (stdout + stderr).trim();
}

async function withSleeper(bundle: Bundle, work: (task: Task) => Promise<void>): Promise<void> {
  const task = await room.launch(bundle);
  try {
    await work(task);
  } finally {
    task.signal(9);
    await room.finish(task);
  }
}

const sleeper = (mounts: OciMount[] = []): Bundle => room.bundle(["sleep", "100"], { mounts });
const bind = (source: string, destination: string): OciMount => ({
  destination,
  type: "bind",
  source,
  options: ["rbind"],
});

test("the host's /dev/null is not the container's stdin: its root could change the mode for everybody", async () => {
  const { dev, ino } = statSync("/dev/null");
  const script = "stat -L -c %d:%i /proc/self/fd/0; stat -c %d:%i /dev/null; cat";
  const check = (text: string): void => {
    const [stdin, own] = text.split("\n");
    expect(stdin).toBe(own);
    expect(stdin).not.toBe(`${dev}:${ino}`);
  };
  check((await room.sh(script)).stdout.trim());
  const bundle = sleeper();
  await withSleeper(bundle, async (task) => {
    check(await execute(task, execRequest(bundle, ["sh", "-c", script])));
    check(await execute(task, execRequest(bundle, ["sh", "-c", script], { user: "alice" })));
    // A container that has put something else there gets that, or an empty stdin, and never hangs us.
    const other = "rm /dev/null; mkfifo /dev/null";
    expect(await execute(task, execRequest(bundle, ["sh", "-c", other]))).toBe("");
    expect(await execute(task, execRequest(bundle, ["sh", "-c", "rm /dev/null; ln -s /etc/passwd /dev/null"]))).toBe(
      "",
    );
    expect(await execute(task, execRequest(bundle, ["cat"]))).toBe("");
  });
});

test("no descriptor of ours is a working directory, at the start nor in an exec session", async () => {
  const numbers = Array.from({ length: 29 }, (_, index) => index + 3);
  const refusal = async (work: () => Promise<unknown>): Promise<string> => {
    try {
      return JSON.stringify(await work());
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };
  for (const number of numbers) {
    const cwd = `/proc/self/fd/${number}`;
    const words = number === 4 ? "ENOTDIR" : "ENOENT";
    expect(await refusal(() => room.sh("ls -a", { process: { cwd } }))).toContain(words);
  }
  const bundle = sleeper();
  await withSleeper(bundle, async (task) => {
    for (const number of numbers) {
      const words = number === 4 ? "ENOTDIR" : "ENOENT";
      const asked = execRequest(bundle, ["ls", "-a"], { cwd: `/proc/self/fd/${number}` });
      expect(await refusal(() => room.runtime.exec(task, asked))).toContain(words);
    }
  });
});

test("a volume in the place of /proc is refused, and one that a link leads there takes no setting", async () => {
  const volume = join(room.directory, "false proc"),
    victim = join(room.directory, "victim");
  mkdirSync(join(volume, "sys/net/ipv4"), { recursive: true });
  writeFileSync(victim, "precious");
  symlinkSync(victim, join(volume, "sys/net/ipv4/ip_unprivileged_port_start"));
  const linux = { sysctl: { "net.ipv4.ip_unprivileged_port_start": "0" } };
  for (const [destination, words] of [
    ["/proc", '"/proc" cannot be mounted because it is not of type proc'],
    ["/proc/self", '"/proc/self" cannot be mounted because it is inside /proc'],
  ] as const) {
    const bundle = room.bundle(["true"], { linux, mounts: [bind(volume, destination)] });
    if (destination === "/proc") bundle.spec.mounts = bundle.spec.mounts.filter(({ type }) => type !== "proc");
    expect(await room.launch(bundle).catch((error: unknown) => String(error))).toContain(words);
  }
  const linked = room.bundle(["true"], { linux, mounts: [bind(volume, "/link")] });
  symlinkSync("/proc", join(linked.rootfs.upper, "link"));
  expect((await room.run(linked)).exit.exitCode).toBe(0);
  expect(readFileSync(victim, "utf8")).toBe("precious");
});

test("what is bound from another container's tree is that container's, whatever its links say", async () => {
  const devices = mkdtempSync(join(room.directory, "dev-"));
  symlinkSync(room.directory, join(devices, "shm"));
  writeFileSync(join(room.directory, "host-only"), "");
  const donor = room.bundle(["sleep", "100"], { mounts: [bind(devices, "/donated")] });
  await withSleeper(donor, async (task) => {
    const { pid } = task;
    await execute(task, execRequest(donor, ["touch", "/dev/shm/theirs"]));
    const taker = room.bundle(["ls", "/shm"], { mounts: [bind(`/proc/${pid}/root/donated/shm`, "/shm")] });
    expect(await room.launch(taker).catch((error: unknown) => String(error))).toContain("ENOENT");
    const honest = room.bundle(["ls", "/shm"], { mounts: [bind(`/proc/${pid}/root/dev/shm`, "/shm")] });
    expect((await room.run(honest)).stdout).toBe("theirs\n");
  });
  rmSync(devices, { recursive: true });
});

test("the shim's program is sealed, and an exec session enters no process that only has the number", async () => {
  const F_GET_SEALS = 1034;
  const bundle = sleeper();
  let record: Task["record"] | null = null;
  await withSleeper(bundle, async (task) => {
    record = task.record;
    using image = openPath(`/proc/${task.record.shimPid}/exe`, O.RDONLY);
    expect(syscall("fcntl", image.number, F_GET_SEALS, 0)).toBe(0xf);
  });
  if (record === null) throw new Error("no record");
  const gone = await room.runtime.regain({ ...(record as Task["record"]), pid: process.pid });
  const started = room.runtime.exec(gone, execRequest(bundle, ["true"])).catch((error: unknown) => String(error));
  expect(await started).toContain("enter the container's namespaces: ESRCH");
  gone[Symbol.dispose]();
});

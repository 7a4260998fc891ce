// What is different on cgroup v2, seen with the docker CLI and at the kernel: the limits' files, the device program, out of
// memory, pause, trees of cgroups, and a daemon in a service manager's unit. Run by test/vm/run.sh on a stock kernel.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { syscall } from "../../runtime/sys/ffi.ts";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

const ROOT = "/sys/fs/cgroup";
const BINARY = join(import.meta.dir, "../../dist/berth");
const HOG = "dd if=/dev/zero of=/dev/null bs=200M count=1";

let berth: TestDaemon;
beforeAll(async () => {
  expect(existsSync(`${ROOT}/cgroup.controllers`)).toBe(true);
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

/** Starts a container that stays, and says where its cgroup is. */
async function start(name: string, ...flags: string[]): Promise<string> {
  const id = await berth.dockerOK(
    "run",
    "-d",
    "--network",
    "none",
    "--name",
    name,
    ...flags,
    "busybox",
    "sleep",
    "1000",
  );
  return join(ROOT, berth.cgroupParent, id);
}

const read = (directory: string, file: string): string => readFileSync(join(directory, file), "utf8").trim();
const inspect = (name: string, format: string): Promise<string> => berth.dockerOK("inspect", name, "--format", format);

describe("limits", () => {
  test("reach the files of the unified hierarchy, and update changes them", async () => {
    const memory = ["-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"];
    const cpu = ["--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "--cpuset-mems", "0"];
    const cgroup = await start("limited", ...memory, ...cpu, "--pids-limit", "20");
    const files = ["memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpuset.cpus", "cpuset.mems", "pids.max"];
    const values = (): string[] => files.map((file) => read(cgroup, file));
    expect(values()).toEqual([`${64 << 20}`, `${32 << 20}`, `${32 << 20}`, "50000 100000", "0", "0", "20"]);
    expect(Number(read(cgroup, "cpu.weight"))).toBeLessThan(100);
    await berth.dockerOK("update", "-m", "80m", "--memory-swap", "80m", "--cpus", "1", "--pids-limit", "30", "limited");
    expect(values()).toEqual([`${80 << 20}`, "0", `${32 << 20}`, "100000 100000", "0", "0", "30"]);
    expect(
      await berth.dockerOK("exec", "limited", "sh", "-c", "cat /sys/fs/cgroup/memory.max; cat /proc/self/cgroup"),
    ).toBe(`${80 << 20}\n0::/`);
    await berth.dockerOK("rm", "-f", "limited");
    await until("its cgroup is gone", () => !existsSync(cgroup));
  });

  test("are what info says this machine can do", async () => {
    const format = "{{.CgroupVersion}} {{.MemoryLimit}} {{.SwapLimit}} {{.CPUSet}} {{.PidsLimit}}";
    expect(await berth.dockerOK("info", "--format", format)).toBe("2 true true true true");
  });
});

test("pause freezes every process, and unpause lets them go on", async () => {
  const cgroup = await start("frozen");
  await berth.dockerOK("pause", "frozen");
  expect(read(cgroup, "cgroup.events")).toContain("frozen 1");
  expect(await inspect("frozen", "{{.State.Status}}")).toBe("paused");
  await berth.dockerOK("unpause", "frozen");
  expect(read(cgroup, "cgroup.events")).toContain("frozen 0");
  await berth.dockerOK("pause", "frozen");
  await berth.dockerOK("rm", "-f", "frozen");
  await until("its cgroup is gone", () => !existsSync(cgroup));
});

describe("out of memory", () => {
  test("is told by inspect and by an event, also of a process that is not the first", async () => {
    const since = String(Date.now() / 1000);
    const ran = await berth.docker(["run", "--name", "hog", "-m", "64m", "busybox", "sh", "-c", `${HOG}; exit 0`]);
    expect(ran.code).toBe(0);
    expect(await inspect("hog", "{{.State.OOMKilled}} {{.State.ExitCode}}")).toBe("true 0");
    const until = String(Date.now() / 1000 + 1);
    const format = ["--format", "{{.Action}}"];
    const events = await berth.dockerOK(
      "events",
      "--since",
      since,
      "--until",
      until,
      "--filter",
      "event=oom",
      ...format,
    );
    expect(events).toBe("oom");
    await berth.dockerOK("rm", "hog");
  });

  test("is known of a container that the daemon has found again after a kill", async () => {
    const script = `while [ ! -e /go ]; do sleep 0.1; done; exec ${HOG}`;
    await berth.dockerOK(
      "run",
      "-d",
      "--network",
      "none",
      "--name",
      "later",
      "-m",
      "64m",
      "busybox",
      "sh",
      "-c",
      script,
    );
    await berth.kill();
    await berth.boot();
    await berth.dockerOK("exec", "later", "touch", "/go");
    expect(await berth.dockerOK("wait", "later")).toBe("137");
    expect(await inspect("later", "{{.State.OOMKilled}}")).toBe("true");
    await berth.dockerOK("rm", "later");
  });

  test("is known of a container that ran out while no daemon ran", async () => {
    const script = `while [ ! -e /go/on ]; do sleep 0.1; done; exec ${HOG}`;
    const bind = ["-v", `${berth.directory}/go:/go`];
    await berth.dockerOK("run", "-d", ...bind, "--name", "alone", "-m", "64m", "busybox", "sh", "-c", script);
    const pid = await inspect("alone", "{{.State.Pid}}");
    await berth.kill();
    await Bun.write(`${berth.directory}/go/on`, "");
    await until("it has ended", () => !existsSync(`/proc/${pid}`));
    await berth.boot();
    expect(await berth.dockerOK("wait", "alone")).toBe("137");
    expect(await inspect("alone", "{{.State.Status}} {{.State.OOMKilled}}")).toBe("exited true");
    await berth.dockerOK("rm", "alone");
  });
});

describe("devices", () => {
  const script =
    "mknod /k c 1 11; head -c 1 /k >/dev/null 2>&1 && echo read; echo x 2>/dev/null >/k && echo write; echo end";
  const tried = async (...flags: string[]): Promise<string> => {
    const lines = await berth.dockerOK("run", "--rm", "--network", "none", ...flags, "busybox", "sh", "-c", script);
    return lines.split("\n").slice(0, -1).join(" ");
  };

  test("are refused, allowed for reading, or all allowed, by the program of the cgroup", async () => {
    expect(await tried()).toBe("");
    expect(await tried("--device", "/dev/kmsg:/dev/kmsg:r", "--cap-add", "SYSLOG")).toBe("read");
    expect(await tried("--device-cgroup-rule", "c 1:11 w")).toBe("write");
    expect(await tried("--privileged")).toBe("read write");
  });

  test("stay refused through update, and for exec", async () => {
    await start("watched");
    await berth.dockerOK("update", "--pids-limit", "50", "watched");
    expect((await berth.docker(["exec", "watched", "sh", "-c", script])).stdout).toBe("end\n");
    await berth.dockerOK("rm", "-f", "watched");
  });
});

test("a container's own tree of cgroups is stopped and removed with it", async () => {
  const script =
    "mount -o remount,rw /sys/fs/cgroup; mkdir -p /sys/fs/cgroup/a/b; sleep 1000 & echo $! > /sys/fs/cgroup/a/b/cgroup.procs; " +
    "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done";
  const id = await berth.dockerOK("run", "-d", "--privileged", "--name", "tree", "busybox", "sh", "-c", script);
  const cgroup = join(ROOT, berth.cgroupParent, id);
  await until("it is ready", async () => (await berth.dockerOK("logs", "tree")) === "ready");
  expect(read(cgroup, "a/b/cgroup.procs")).toMatch(/^\d+$/);
  expect((await berth.dockerOK("top", "tree")).match(/ sleep 1000$/gm)?.length).toBe(1);
  await berth.dockerOK("stop", "tree");
  await until("its cgroups are gone", () => !existsSync(cgroup));
  await berth.dockerOK("rm", "tree");
});

test("--cgroupns host shows the machine's hierarchy, --cgroup-parent chooses the place", async () => {
  const parent = `${berth.cgroupParent}/below`;
  const flags = ["--rm", "--network", "none", "--cgroupns", "host", "--cgroup-parent", parent];
  expect(await berth.dockerOK("run", ...flags, "busybox", "cat", "/proc/self/cgroup")).toStartWith(`0::${parent}/`);
  const isEmpty = (): boolean =>
    readdirSync(join(ROOT, parent), { withFileTypes: true }).every((entry) => !entry.isDirectory());
  await until("the container's cgroup is gone", isEmpty);
  rmdirSync(join(ROOT, parent));
});

test("in a unit with delegation everything stays below it, also after the unit has been restarted", async () => {
  const unit = join(ROOT, "berth-unit.service");
  mkdirSync(unit);
  expect(syscall("lsetxattr", unit, "trusted.delegate", new TextEncoder().encode("1"), 1, 0)).toBe(0);
  const program = ["sh", "-c", 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"', "sh", unit, BINARY];
  {
    await using daemon = await TestDaemon.start({ program, choosesCgroup: true });
    await loadBusybox(daemon);
    const id = await daemon.dockerOK(
      "run",
      "-d",
      "--network",
      "none",
      "-m",
      "64m",
      "--name",
      "one",
      "busybox",
      "sleep",
      "1000",
    );
    await daemon.dockerOK("restart", "-t", "0", "one");
    expect(readFileSync(`/proc/${daemon.pid}/cgroup`, "utf8")).toBe("0::/berth-unit.service/berth-daemon\n");
    expect(read(unit, `berth/${id}/memory.max`)).toBe(String(64 << 20));
    await daemon.kill();
    // DelegateSubgroup=berth-daemon: a unit whose containers run on has no room for processes of its own.
    program[4] = join(unit, "berth-daemon");
    await daemon.boot();
    await daemon.dockerOK("run", "--rm", "--network", "none", "busybox", "true");
    const children = (): number =>
      readdirSync(join(unit, "berth"), { withFileTypes: true }).filter((entry) => entry.isDirectory()).length;
    await until("only the first container's cgroup is there", () => children() === 1);
    expect(readFileSync(`/proc/${daemon.pid}/cgroup`, "utf8")).toBe("0::/berth-unit.service/berth-daemon\n");
    await daemon.dockerOK("rm", "-f", "one");
    await until("its cgroup is gone", () => !existsSync(join(unit, "berth", id)));
  }
  for (const directory of ["berth", "berth-daemon", ""]) rmdirSync(join(unit, directory));
});

test("doctor finds everything here, and runs its container", async () => {
  const place = ["--data-root", join(berth.directory, "doctor"), "--cgroup-parent", `${berth.cgroupParent}-doctor`];
  const { stdout, stderr, code } = await berth.inside([BINARY, "doctor", ...place]);
  const rows = stdout.split("\n").filter((line) => / (ok|limited|missing) /.test(line));
  // Project quotas are the file system's to have: the guest's has none.
  expect(rows.filter((line) => !/ ok /.test(line) && !line.startsWith("project quotas "))).toEqual([]);
  for (const name of ["cgroup v2", "cgroup controllers", "overlayfs", "nf_tables with NAT", "container"]) {
    expect(rows.some((line) => line.startsWith(`${name} `))).toBe(true);
  }
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});

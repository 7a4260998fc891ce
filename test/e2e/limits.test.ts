// Every limit of `docker run` and `docker update`, read from the container's cgroup or from inside: on cgroup v1 and, in the
// virtual machine, on v2. What one version cannot do is warned of there, in Docker's words.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

const ROOT = "/sys/fs/cgroup";
const isV2 = existsSync(join(ROOT, "cgroup.controllers"));
const MiB = 1 << 20;

let berth: TestDaemon;
/** A block device of this machine, under a name of its own: for limits of one device. */
let disk = { path: "", numbers: "" };
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  disk = makeDisk(join(berth.directory, "disk"));
});
afterAll(async () => await berth[Symbol.asyncDispose]());

function makeDisk(path: string): { path: string; numbers: string } {
  const [name] = readdirSync("/sys/block").sort(
    (a, b) => Number(/^(loop|ram|zram)/.test(a)) - Number(/^(loop|ram|zram)/.test(b)),
  );
  const numbers = readFileSync(`/sys/block/${name}/dev`, "utf8").trim();
  execFileSync("mknod", [path, "b", ...numbers.split(":")]);
  return { path, numbers };
}

/** The text of a control file of a container; `v1` is `controller/file`. */
function control(id: string, v1: string, v2: string): string {
  const [controller = "", file = ""] = v1.split("/");
  const path = isV2 ? join(ROOT, berth.cgroupParent, id, v2) : join(ROOT, controller, berth.cgroupParent, id, file);
  return readFileSync(path, "utf8").trim();
}

interface Created {
  id: string;
  warnings: string[];
}

/** Through the API, for fields and warnings that the CLI hides. */
async function start(name: string, hostConfig: object, version = "1.50"): Promise<Created> {
  const body = { Image: "busybox", Cmd: ["sleep", "1000"], HostConfig: { NetworkMode: "none", ...hostConfig } };
  const created = await berth.request("POST", `/v${version}/containers/create?name=${name}`, { body });
  const {
    Id: id,
    Warnings: warnings,
    message,
  } = (await created.json()) as { Id: string; Warnings: string[]; message: string };
  expect([created.status, message]).toEqual([201, undefined as unknown as string]);
  const started = await berth.request("POST", `/containers/${id}/start`);
  expect([started.status, await started.text()]).toEqual([204, ""]);
  return { id, warnings };
}

async function update(id: string, change: object, version = "1.50") {
  const reply = await berth.request("POST", `/v${version}/containers/${id}/update`, { body: change });
  const { Warnings, message } = (await reply.json()) as { Warnings?: string[]; message?: string };
  return { status: reply.status, Warnings, message };
}

const remove = (...ids: string[]): Promise<string> => berth.dockerOK("rm", "-f", ...ids);
const inspect = (id: string, format: string): Promise<string> => berth.dockerOK("inspect", id, "--format", format);
const memory = (id: string): string[] => [
  control(id, "memory/memory.limit_in_bytes", "memory.max"),
  control(id, "memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
];
/** Memory, and memory with swap, as this version's files say it. */
const held = (limit: number, total: number | null): string[] =>
  isV2
    ? [String(limit), total === null ? "max" : String(total - limit)]
    : [String(limit), total === null ? "9223372036854771712" : String(total)];

describe("memory", () => {
  test("Memory and MemorySwap: doubled, equal, unlimited", async () => {
    const doubled = await start("doubled", { Memory: 32 * MiB });
    expect(memory(doubled.id)).toEqual(held(32 * MiB, 64 * MiB));
    expect(await inspect("doubled", "{{.HostConfig.MemorySwap}}")).toBe(String(64 * MiB));
    const equal = await start("equal", { Memory: 32 * MiB, MemorySwap: 32 * MiB });
    expect(memory(equal.id)).toEqual(held(32 * MiB, 32 * MiB));
    const unlimited = await start("unlimited", { Memory: 32 * MiB, MemorySwap: -1 });
    expect(memory(unlimited.id)).toEqual(held(32 * MiB, null));
    await remove("doubled", "equal", "unlimited");
  });

  test("MemoryReservation", async () => {
    const { id, warnings } = await start("reserved", { Memory: 64 * MiB, MemoryReservation: 16 * MiB });
    expect(warnings).toEqual([]);
    expect(control(id, "memory/memory.soft_limit_in_bytes", "memory.low")).toBe(String(16 * MiB));
    await remove(id);
  });

  test("MemorySwappiness and OomKillDisable act on cgroup v1, and are warned of on v2", async () => {
    const { id, warnings } = await start("swappy", { Memory: 32 * MiB, MemorySwappiness: 7, OomKillDisable: true });
    if (isV2) {
      expect(warnings).toEqual([
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
        "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
      ]);
    } else {
      expect(warnings).toEqual([]);
      expect(control(id, "memory/memory.swappiness", "")).toBe("7");
      expect(control(id, "memory/memory.oom_control", "")).toContain("oom_kill_disable 1");
    }
    await remove(id);
  });

  test("KernelMemory is warned of below API 1.42, and not read from then on", async () => {
    const old = await start("kernel", { KernelMemory: 32 * MiB, KernelMemoryTCP: 32 * MiB }, "1.41");
    expect(old.warnings).toEqual([
      "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
      "Your kernel does not support kernel memory TCP limit capabilities or the cgroup is not mounted. Limitation discarded.",
    ]);
    const now = await start("kernel-now", { KernelMemory: 32 * MiB }, "1.42");
    expect(now.warnings).toEqual([]);
    await remove(old.id, now.id);
  });

  test("OomScoreAdj is the score of the first process", async () => {
    const { id } = await start("scored", { OomScoreAdj: 321 });
    expect(await berth.dockerOK("exec", id, "cat", "/proc/1/oom_score_adj")).toBe("321");
    await remove(id);
  });
});

describe("cpu", () => {
  const quota = (id: string): string =>
    isV2
      ? control(id, "", "cpu.max")
      : `${control(id, "cpu/cpu.cfs_quota_us", "")} ${control(id, "cpu/cpu.cfs_period_us", "")}`.replace(
          /^-1 /,
          "max ",
        );

  test("CpuShares, CpuQuota, CpuPeriod and NanoCpus", async () => {
    const { id } = await start("shared", { CpuShares: 512, CpuQuota: 20_000, CpuPeriod: 50_000 });
    expect(control(id, "cpu/cpu.shares", "cpu.weight")).toBe(isV2 ? "59" : "512");
    expect(quota(id)).toBe("20000 50000");
    const nano = await start("nano", { NanoCpus: 250_000_000 });
    expect(quota(nano.id)).toBe("25000 100000");
    await remove(id, nano.id);
  });

  test("CpusetCpus and CpusetMems", async () => {
    const { id } = await start("pinned", { CpusetCpus: "0", CpusetMems: "0" });
    expect(control(id, "cpuset/cpuset.cpus", "cpuset.cpus")).toBe("0");
    expect(control(id, "cpuset/cpuset.mems", "cpuset.mems")).toBe("0");
    expect(await berth.dockerOK("exec", id, "grep", "Cpus_allowed_list", "/proc/self/status")).toEndWith("\t0");
    await remove(id);
  });

  test("PidsLimit, and 0 or -1 for none", async () => {
    const few = await start("few", { PidsLimit: 11 });
    expect(control(few.id, "pids/pids.max", "pids.max")).toBe("11");
    for (const PidsLimit of [0, -1]) {
      const any = await start(`any${PidsLimit}`, { PidsLimit });
      expect(control(any.id, "pids/pids.max", "pids.max")).toBe("max");
      await remove(any.id);
    }
    await remove(few.id);
  });

  test("CpuRealtimePeriod and CpuRealtimeRuntime act below a parent that has a budget, and are refused without such groups", async () => {
    const hasGroups = !isV2 && existsSync(join(ROOT, "cpu/cpu.rt_runtime_us"));
    const ask = { Image: "busybox", HostConfig: { CpuRealtimePeriod: 500_000, CpuRealtimeRuntime: 1_000 } };
    if (!hasGroups) {
      const refused = await berth.request("POST", "/containers/create", { body: ask });
      expect([refused.status, ((await refused.json()) as { message: string }).message]).toEqual([
        400,
        "kernel does not support CPU real-time scheduler",
      ]);
      return;
    }
    await using daemon = await TestDaemon.start({ args: ["--cpu-rt-runtime", "20000"] });
    await loadBusybox(daemon);
    const flags = ["--network", "none", "--cpu-rt-runtime", "1000", "--cpu-rt-period", "500000"];
    const id = await daemon.dockerOK("run", "-d", ...flags, "busybox", "sleep", "1000");
    const read = (file: string): string =>
      readFileSync(join(ROOT, "cpu", daemon.cgroupParent, id, file), "utf8").trim();
    expect([read("cpu.rt_runtime_us"), read("cpu.rt_period_us")]).toEqual(["1000", "500000"]);
    await daemon.dockerOK("rm", "-f", id);
  });
});

describe("block devices", () => {
  test("throttles of one device, by bytes and by operations", async () => {
    const rate = (Rate: number) => [{ Path: disk.path, Rate }];
    const { id, warnings } = await start("throttled", {
      BlkioDeviceReadBps: rate(1_048_576),
      BlkioDeviceWriteBps: rate(2_097_152),
      BlkioDeviceReadIOps: rate(100),
      BlkioDeviceWriteIOps: rate(200),
    });
    expect(warnings).toEqual([]);
    if (isV2) {
      expect(control(id, "", "io.max")).toBe(`${disk.numbers} rbps=1048576 wbps=2097152 riops=100 wiops=200`);
    } else {
      const throttle = (name: string): string => control(id, `blkio/blkio.throttle.${name}_device`, "");
      expect(["read_bps", "write_bps", "read_iops", "write_iops"].map(throttle)).toEqual([
        `${disk.numbers} 1048576`,
        `${disk.numbers} 2097152`,
        `${disk.numbers} 100`,
        `${disk.numbers} 200`,
      ]);
    }
    // From API 1.55 on they can be changed; another device's would stay.
    expect((await update(id, { BlkioDeviceReadBps: rate(4_194_304) })).status).toBe(200);
    const after = (): string => control(id, "blkio/blkio.throttle.read_bps_device", "io.max");
    expect(after()).toContain("1048576");
    expect((await update(id, { BlkioDeviceReadBps: rate(4_194_304) }, "1.55")).status).toBe(200);
    expect(after()).toContain("4194304");
    await remove(id);
  });

  test("BlkioWeight where a scheduler weighs, and a warning where none does", async () => {
    const { id, warnings } = await start("weighed", { BlkioWeight: 300 });
    const file = isV2
      ? ["io.bfq.weight", "io.weight"].find((name) => existsSync(join(ROOT, berth.cgroupParent, id, name)))
      : ["blkio.weight", "blkio.bfq.weight"].find((name) =>
          existsSync(join(ROOT, "blkio", berth.cgroupParent, id, name)),
        );
    if (file === undefined) {
      expect(warnings).toEqual([
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
      ]);
    } else {
      expect(warnings).toEqual([]);
      expect(control(id, `blkio/${file}`, file)).toMatch(file === "io.weight" ? /^default 2930/ : /^(default )?300$/m);
    }
    await remove(id);
  });

  test("BlkioWeightDevice where the disk's scheduler weighs, and a refusal that names the file where it does not", async () => {
    const body = {
      Image: "busybox",
      Cmd: ["sleep", "1000"],
      HostConfig: { NetworkMode: "none", BlkioWeightDevice: [{ Path: disk.path, Weight: 250 }] },
    };
    const created = await berth.request("POST", "/containers/create", { body });
    const { Id, Warnings } = (await created.json()) as { Id: string; Warnings: string[] };
    const started = await berth.request("POST", `/containers/${Id}/start`);
    if (started.status === 204) {
      const directory = join(ROOT, isV2 ? "" : "blkio", berth.cgroupParent, Id);
      const weights = readdirSync(directory)
        .filter((name) => /weight(_device)?$/.test(name))
        .map((name) => readFileSync(join(directory, name), "utf8"));
      const isDiscarded = Warnings.some((warning) => warning.endsWith("Weight-device discarded."));
      expect(isDiscarded || weights.some((text) => text.includes(disk.numbers))).toBe(true);
    } else {
      const { message } = (await started.json()) as { message: string };
      expect([started.status, message]).toEqual([
        500,
        expect.stringMatching(new RegExp(`write "${disk.numbers} \\d+" to \\S*weight`)),
      ]);
    }
    await remove(Id);
  });

  test("a device that is not there is refused at start and at an update", async () => {
    const missing = [{ Path: "/dev/nothing", Rate: 1 }];
    const ran = await berth.docker(["run", "--rm", "--device-read-bps", "/dev/nothing:1mb", "busybox", "true"]);
    expect([ran.code, ran.stderr]).toEqual([125, expect.stringContaining("no such device: /dev/nothing")]);
    const { id } = await start("sound", {});
    expect(await update(id, { BlkioDeviceReadBps: missing }, "1.55")).toMatchObject({
      status: 400,
      message: "no such device: /dev/nothing",
    });
    await remove(id);
  });
});

describe("an update", () => {
  test("raises and lowers memory and swap in whatever order the kernel needs", async () => {
    const { id } = await start("moved", { Memory: 32 * MiB, MemorySwap: 64 * MiB });
    for (const [Memory, MemorySwap, total] of [
      [128, 256, 256],
      [16, 20, 20],
      [512, -1, null],
      [24, 24, 24],
      [0, 40, 40],
    ] as const) {
      const change = { Memory: Memory * MiB, MemorySwap: MemorySwap === -1 ? -1 : MemorySwap * MiB };
      expect(await update(id, change)).toEqual({ status: 200, Warnings: [], message: undefined });
      expect(memory(id)).toEqual(held((Memory || 24) * MiB, total === null ? null : total * MiB));
    }
    await remove(id);
  });

  test("changes every limit that it can, on a container that runs and on its next start", async () => {
    const { id } = await start("changed", { Memory: 32 * MiB, CpuQuota: 10_000 });
    const change = {
      Memory: 48 * MiB,
      MemorySwap: 48 * MiB,
      MemoryReservation: 8 * MiB,
      CpuShares: 2048,
      CpuPeriod: 200_000,
      CpusetCpus: "0",
      CpusetMems: "0",
      PidsLimit: 44,
      RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 },
    };
    expect(await update(id, change)).toEqual({ status: 200, Warnings: [], message: undefined });
    const seen = (): string[] => [
      ...memory(id),
      control(id, "memory/memory.soft_limit_in_bytes", "memory.low"),
      control(id, "cpu/cpu.shares", "cpu.weight"),
      isV2 ? (control(id, "", "cpu.max").split(" ")[0] ?? "") : control(id, "cpu/cpu.cfs_quota_us", ""),
      isV2 ? (control(id, "", "cpu.max").split(" ")[1] ?? "") : control(id, "cpu/cpu.cfs_period_us", ""),
      control(id, "cpuset/cpuset.cpus", "cpuset.cpus"),
      control(id, "pids/pids.max", "pids.max"),
    ];
    const wanted = [...held(48 * MiB, 48 * MiB), String(8 * MiB), isV2 ? "174" : "2048", "10000", "200000", "0", "44"];
    expect(seen()).toEqual(wanted);
    expect(
      await inspect(id, "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"),
    ).toBe("on-failure 3");
    await berth.dockerOK("restart", "-t", "0", id);
    expect(seen()).toEqual(wanted);
    expect((await update(id, { PidsLimit: 0 })).status).toBe(200);
    expect(control(id, "pids/pids.max", "pids.max")).toBe("max");
    await remove(id);
  });

  test("that the kernel refuses in the middle changes nothing", async () => {
    const { id } = await start("whole", { Memory: 32 * MiB, MemorySwap: 64 * MiB, CpuShares: 100, PidsLimit: 20 });
    // More than any pid namespace takes is refused by the file that is written last.
    const { status, message } = await update(id, {
      Memory: 48 * MiB,
      MemorySwap: 96 * MiB,
      CpuShares: 300,
      PidsLimit: 2 ** 40,
    });
    expect(status).toBe(500);
    expect(message).toStartWith(`Cannot update container ${id}: `);
    expect(message).toContain("pids.max");
    expect(memory(id)).toEqual(held(32 * MiB, 64 * MiB));
    expect(control(id, "cpu/cpu.shares", "cpu.weight")).toBe(isV2 ? "17" : "100");
    expect(await inspect(id, "{{.HostConfig.Memory}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}}")).toBe(
      `${32 * MiB} 100 20`,
    );
    await remove(id);
  });

  test("refuses what conflicts, and says what it leaves alone", async () => {
    const { id } = await start("set", { CpuPeriod: 50_000, CpuQuota: 10_000, Memory: 32 * MiB });
    const conflict = (why: string) => ({ status: 409, message: `Cannot update container ${id}: ${why}` });
    expect(await update(id, { NanoCpus: 500_000_000 })).toMatchObject(
      conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"),
    );
    expect(await update(id, { Memory: 128 * MiB })).toMatchObject(
      conflict(
        "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
      ),
    );
    expect(await update(id, { Memory: 1 })).toMatchObject({
      status: 400,
      message: "Minimum memory limit allowed is 6MB",
    });
    expect(await update(id, { CgroupParent: "/elsewhere", KernelMemory: 5 }, "1.41")).toMatchObject({
      status: 200,
      Warnings: [
        "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
        "CgroupParent cannot be changed by an update, and is left as it is.",
      ],
    });
    // Clients below 1.40 could not say what 0 means.
    expect((await update(id, { PidsLimit: 5 }, "1.39")).status).toBe(200);
    expect(control(id, "pids/pids.max", "pids.max")).toBe("max");
    await remove(id);
  });
});

describe("beside the cgroup", () => {
  test("CgroupParent chooses the place, and a slice is refused", async () => {
    const parent = `${berth.cgroupParent}/chosen`;
    const { id } = await start("placed", { CgroupParent: parent, PidsLimit: 9 });
    const place = (controller: string): string => join(ROOT, ...(isV2 ? [] : [controller]), parent);
    expect(readFileSync(join(place("pids"), id, "pids.max"), "utf8").trim()).toBe("9");
    await remove(id);
    await until("the container's cgroup is gone", () => !existsSync(join(place("pids"), id)));
    const places = isV2 ? [place("")] : readdirSync(ROOT).map(place);
    for (const directory of new Set(places.filter((path) => existsSync(path))))
      if (existsSync(directory)) rmdirSync(directory);
    const refused = await berth.docker(["create", "--cgroup-parent", "x.slice", "busybox"]);
    expect(refused.stderr).toContain("is a slice of systemd");
  });

  test("Ulimits: the container's win over the daemon's, and nonsense is refused", async () => {
    await using daemon = await TestDaemon.start({
      args: ["--default-ulimit", "nofile=300:400", "--default-ulimit", "core=0", "--default-shm-size", "8m"],
    });
    await loadBusybox(daemon);
    const inside = (...flags: string[]): Promise<string> =>
      daemon.dockerOK(
        "run",
        "--rm",
        "--network",
        "none",
        ...flags,
        "busybox",
        "sh",
        "-c",
        "ulimit -Sn; ulimit -Hn; ulimit -c",
      );
    expect(await inside()).toBe("300\n400\n0");
    expect(await inside("--ulimit", "nofile=200")).toBe("200\n200\n0");
    const shm = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    expect(await daemon.dockerOK("run", "--rm", "--network", "none", "busybox", "sh", "-c", shm)).toBe("8192");
    const body = { Image: "busybox", HostConfig: { Ulimits: [{ Name: "nofile", Soft: 9, Hard: 5 }] } };
    const refused = await daemon.request("POST", "/containers/create", { body });
    expect([refused.status, await refused.json()]).toEqual([
      400,
      { message: "ulimit soft limit must be less than or equal to hard limit: 9 > 5" },
    ]);
  });

  test("DeviceCgroupRules and Devices: a node, a directory of nodes, and their permissions", async () => {
    const devices = join(berth.directory, "devices");
    execFileSync("mkdir", ["-p", devices]);
    execFileSync("mknod", [join(devices, "one"), "c", "1", "3"]);
    execFileSync("mknod", [join(devices, "two"), "c", "1", "5"]);
    const inside = (script: string, ...flags: string[]): Promise<string> =>
      berth.dockerOK("run", "--rm", "--network", "none", ...flags, "busybox", "sh", "-c", script);
    expect(await inside("ls /dev/mine; stat -c '%t:%T' /dev/mine/two", "--device", `${devices}:/dev/mine`)).toBe(
      "one\ntwo\n1:5",
    );
    const open = "mknod /k c 1 11; (: </k) 2>/dev/null && echo read; (: >>/k) 2>/dev/null && echo write; echo end";
    expect(await inside(open)).toBe("end");
    expect(await inside(open, "--cap-add", "SYSLOG", "--device-cgroup-rule", "c 1:11 r")).toBe("read\nend");
    expect(await inside(open, "--device", "/dev/kmsg:/dev/kmsg:w")).toBe("write\nend");
    expect(await inside("stat -c '%t:%T' /dev/other", "--privileged", "--device", "/dev/zero:/dev/other")).toBe("1:5");
    const wrong = await berth.docker(["run", "--rm", "--device", "/etc/passwd", "busybox", "true"]);
    expect(wrong.stderr).toContain(
      'error gathering device information while adding custom device "/etc/passwd": not a device node',
    );
  });

  test("StopSignal, StopTimeout and --default-stop-timeout", async () => {
    await using daemon = await TestDaemon.start({ args: ["--default-stop-timeout", "1"] });
    await loadBusybox(daemon);
    const script = "trap 'exit 5' USR1; trap '' TERM; echo ready; while :; do sleep 0.05; done";
    const run = async (...flags: string[]): Promise<string> => {
      const id = await daemon.dockerOK("run", "-d", "--network", "none", ...flags, "busybox", "sh", "-c", script);
      await until("it is ready", async () => (await daemon.dockerOK("logs", id)) === "ready");
      await daemon.dockerOK("stop", id);
      return await daemon.dockerOK("inspect", id, "--format", "{{.State.ExitCode}}");
    };
    expect(await run("--stop-signal", "USR1")).toBe("5");
    // With Docker's own 10 seconds each of these would outlast the patience of this test.
    expect(await run()).toBe("137");
    expect(await run("--stop-timeout", "0")).toBe("137");
  });

  test("Sysctls: of the container's namespaces alone", async () => {
    const inside = (...flags: string[]): Promise<string> =>
      berth.dockerOK(
        "run",
        "--rm",
        ...flags,
        "busybox",
        "sh",
        "-c",
        "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max",
      );
    const host = readFileSync("/proc/sys/kernel/msgmax", "utf8");
    expect(
      await inside(
        "--sysctl",
        "net.core.somaxconn=77",
        "--sysctl",
        "kernel.msgmax=9000",
        "--sysctl",
        "fs.mqueue.msg_max=9",
      ),
    ).toBe("77\n9000\n9");
    expect(readFileSync("/proc/sys/kernel/msgmax", "utf8")).toBe(host);
    for (const [flags, message] of [
      [
        ["--network", "host", "--sysctl", "net.core.somaxconn=77"],
        'sysctl "net.core.somaxconn" not allowed in host network namespace',
      ],
      [
        ["--ipc", "host", "--sysctl", "kernel.msgmax=9000"],
        'sysctl "kernel.msgmax" is not allowed in the hosts ipc namespace',
      ],
    ] as const) {
      expect((await berth.docker(["create", ...flags, "busybox"])).stderr).toContain(message);
    }
    // The CLI does not even send this one.
    const body = { Image: "busybox", HostConfig: { Sysctls: { "vm.swappiness": "1" } } };
    const refused = await berth.request("POST", "/containers/create", { body });
    expect([refused.status, await refused.json()]).toEqual([
      400,
      { message: 'sysctl "vm.swappiness" is not in a separate kernel namespace' },
    ]);
  });

  test("GroupAdd, Annotations, ConsoleSize and Runtime", async () => {
    const groups = ["--group-add", "4321"];
    expect(await berth.dockerOK("run", "--rm", "--network", "none", ...groups, "busybox", "id", "-G")).toMatch(
      /^0 .*4321/,
    );
    const made = await berth.dockerOK("create", "--annotation", "a=b", "--runtime", "io.containerd.runc.v2", "busybox");
    expect(await inspect(made, "{{.HostConfig.Annotations}} {{.HostConfig.Runtime}}")).toBe(
      "map[a:b] io.containerd.runc.v2",
    );
    await remove(made);
    const body = {
      Image: "busybox",
      Tty: true,
      Cmd: ["stty", "size"],
      HostConfig: { NetworkMode: "none", ConsoleSize: [33, 123], Annotations: { a: "b" } },
    };
    const size = async (version: string): Promise<string> => {
      const created = await berth.request("POST", `/v${version}/containers/create`, { body });
      const { Id } = (await created.json()) as { Id: string };
      await berth.dockerOK("start", Id);
      await berth.dockerOK("wait", Id);
      const shown = `${await berth.dockerOK("logs", Id)} ${await inspect(Id, "{{len .HostConfig.Annotations}}")}`;
      await remove(Id);
      return shown;
    };
    expect(await size("1.50")).toBe("33 123 1");
    // Neither was known then.
    expect(await size("1.41")).toMatch(/^(0 0|stty: standard input) 0$/);
    const unknown = await berth.docker(["create", "--runtime", "kata", "busybox"]);
    expect(unknown.stderr).toContain("unknown or invalid runtime name: kata");
  });

  test("Domainname is the kernel's, and NetworkDisabled leaves loopback alone", async () => {
    const body = {
      Image: "busybox",
      Cmd: ["sh", "-c", "cat /proc/sys/kernel/domainname; ls /sys/class/net"],
      Domainname: "example.org",
      NetworkDisabled: true,
    };
    const { Id } = (await (await berth.request("POST", "/containers/create", { body })).json()) as { Id: string };
    await berth.dockerOK("start", Id);
    await berth.dockerOK("wait", Id);
    const shown = (await berth.dockerOK("logs", Id)).split("\n");
    expect(shown[0]).toBe("example.org");
    expect(shown.slice(1).filter((name) => name.startsWith("eth"))).toEqual([]);
    await remove(Id);
  });

  test("--init-path names the init of --init", async () => {
    const init = join(berth.directory, "own-init");
    writeFileSync(init, '#!/bin/sh\nshift\necho by own init\nexec "$@"\n', { mode: 0o755 });
    await using daemon = await TestDaemon.start({ args: ["--init-path", init] });
    await loadBusybox(daemon);
    expect(await daemon.dockerOK("run", "--rm", "--network", "none", "--init", "busybox", "echo", "workload")).toBe(
      "by own init\nworkload",
    );
    expect(await daemon.dockerOK("run", "--rm", "--network", "none", "busybox", "echo", "workload")).toBe("workload");
  });

  test("--default-runtime and --oom-score-adjust of the daemon", async () => {
    await using daemon = await TestDaemon.start({
      args: ["--default-runtime", "io.containerd.runc.v2", "--oom-score-adjust", "50"],
    });
    await loadBusybox(daemon);
    expect(readFileSync(`/proc/${daemon.pid}/oom_score_adj`, "utf8").trim()).toBe("50");
    const run = ["run", "--name", "one", "--network", "none", "busybox", "cat", "/proc/self/oom_score_adj"];
    expect(await daemon.dockerOK(...run)).toBe("0");
    expect(await daemon.dockerOK("inspect", "one", "--format", "{{.HostConfig.Runtime}}")).toBe(
      "io.containerd.runc.v2",
    );
    expect(await daemon.dockerOK("info", "--format", "{{.DefaultRuntime}}")).toBe("io.containerd.runc.v2");
  });
});

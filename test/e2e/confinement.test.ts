// What a container may do, and which namespaces it shares: seen from inside, or in /proc of its processes.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { loadBusybox } from "../support/busybox.ts";
import { run as exec, type Ran, TestDaemon } from "../support/daemon.ts";

let berth: TestDaemon;
const host = mkdtempSync(join(tmpdir(), "berth-confinement-"));
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => {
  await berth[Symbol.asyncDispose]();
  rmSync(host, { recursive: true, force: true });
});

const run = (flags: string[], script: string): Promise<Ran> =>
  berth.docker(["run", "--rm", ...flags, "busybox", "sh", "-c", script]);
async function inside(flags: string[], script: string): Promise<string> {
  const { stdout, stderr, code } = await run(flags, script);
  if (code !== 0) throw new Error(`${code}: ${stdout}${stderr}`);
  return stdout.trim();
}
/** The message of a refused create, by the API: the CLI would check some of it itself. */
async function refusal(hostConfig: object, config: object = {}): Promise<string> {
  const body = { Image: "busybox", Cmd: ["true"], ...config, HostConfig: hostConfig };
  const reply = await berth.request("POST", "/v1.51/containers/create", { body });
  const { message, Id } = (await reply.json()) as { message?: string; Id?: string };
  if (Id !== undefined) await berth.dockerOK("rm", Id);
  return `${reply.status} ${message}`;
}
const pidOf = async (name: string): Promise<number> =>
  Number(await berth.dockerOK("inspect", name, "--format", "{{.State.Pid}}"));
const namespace = (pid: number | string, type: string): string => readlinkSync(`/proc/${pid}/ns/${type}`);

describe("seccomp", () => {
  let count = 0;
  const profile = (content: object | string): string[] => {
    const path = join(host, `profile${count++}.json`);
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
    return ["--security-opt", `seccomp=${path}`];
  };
  const denying = (names: string[], rule: object = {}) => ({
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names, action: "SCMP_ACT_ERRNO", ...rule }],
  });

  test("each action does what it says", async () => {
    expect(await inside([], "grep Seccomp: /proc/self/status | cut -f2")).toBe("2");
    expect(await inside(["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status | cut -f2")).toBe(
      "0",
    );
    expect(await inside(["--security-opt", "seccomp=builtin"], "grep Seccomp: /proc/self/status | cut -f2")).toBe("2");
    const mkdir = ["mkdir", "mkdirat"];
    const said = async (rule: object) => await run(profile(denying(mkdir, rule)), "mkdir /x && echo made");
    expect((await said({})).stderr).toContain("Operation not permitted");
    expect((await said({ errnoRet: 28 })).stderr).toContain("No space left on device");
    expect((await said({ action: "SCMP_ACT_LOG" })).stdout).toBe("made\n");
    expect((await said({ action: "SCMP_ACT_TRACE" })).stderr).toContain("Function not implemented");
    for (const action of ["SCMP_ACT_TRAP", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"]) {
      const { code, stdout } = await said({ action });
      expect({ action, code, stdout }).toEqual({ action, code: 159, stdout: "" });
    }
  });

  test("rules hold by arguments, capabilities, architecture and kernel", async () => {
    // umask(0777) alone, by a value and by a mask; a 64-bit value that JSON's numbers would round.
    const umask = (args: object[]) => profile(denying(["umask"], { args, errnoRet: 1 }));
    const script = "umask 0777 2>/dev/null; umask";
    expect(await inside(umask([{ index: 0, value: 0o777, op: "SCMP_CMP_EQ" }]), script)).toBe("0022");
    expect(await inside(umask([{ index: 0, value: 0o700, valueTwo: 0o100, op: "SCMP_CMP_MASKED_EQ" }]), script)).toBe(
      "0777",
    );
    const wide = JSON.stringify(denying(["umask"], { args: [{ index: 0, value: 1, op: "SCMP_CMP_LE" }] }));
    expect(await inside(profile(wide.replace('"value":1', '"value":18446744073709551615')), script)).toBe(
      "37777777777",
    );
    const mkdir = (rule: object) => run(profile(denying(["mkdir", "mkdirat"], rule)), "mkdir /x && echo made");
    expect((await mkdir({ includes: { caps: ["CAP_SYS_ADMIN"] } })).stdout).toBe("made\n");
    expect((await mkdir({ excludes: { caps: ["CAP_CHOWN"] } })).stdout).toBe("made\n");
    expect((await mkdir({ includes: { minKernel: "99.0" } })).stdout).toBe("made\n");
    expect((await mkdir({ includes: { minKernel: "3.0", arches: ["amd64", "arm64"] } })).stdout).toBe("");
    expect((await mkdir({ excludes: { arches: ["amd64", "arm64"] } })).stdout).toBe("made\n");
    const mapped = { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] };
    expect(await inside(profile({ defaultAction: "SCMP_ACT_ALLOW", archMap: [mapped], syscalls: [] }), "echo ok")).toBe(
      "ok",
    );
  });

  test("a profile that cannot be carried out is refused at create", async () => {
    const refused = (content: object | string) =>
      refusal({ SecurityOpt: [`seccomp=${typeof content === "string" ? content : JSON.stringify(content)}`] });
    expect(await refused("{")).toStartWith("400 Decoding seccomp profile failed: ");
    expect(await refused(denying(["mkdir"], { action: "SCMP_ACT_NOTIFY" }))).toContain(
      "SCMP_ACT_NOTIFY is not supported",
    );
    expect(await refused(denying(["mkdir"], { action: "SCMP_ACT_WISH" }))).toContain('"SCMP_ACT_WISH" is unknown');
    expect(await refused(denying(["mkdir"], { name: "mkdir" }))).toContain("both 'name' and 'names' were specified");
    expect(
      await refused({
        defaultAction: "SCMP_ACT_ALLOW",
        architectures: ["SCMP_ARCH_X86"],
        archMap: [{ architecture: "x" }],
      }),
    ).toContain("both 'architectures' and 'archMap' were specified");
  });
});

test("--security-opt: no new privileges, labels, paths of the system, and what is not known", async () => {
  const flag = async (...options: string[]) =>
    await inside(
      options.flatMap((option) => ["--security-opt", option]),
      "grep NoNewPrivs /proc/self/status | cut -f2",
    );
  expect(await flag("no-new-privileges")).toBe("1");
  expect(await flag("no-new-privileges=true")).toBe("1");
  expect(await flag("no-new-privileges=false")).toBe("0");
  expect(await flag("label=disable", "label=type:container_t", "apparmor=unconfined")).toBe("0");
  const masks = "grep -cE ' /proc/(kcore|keys|sys|bus) ' /proc/self/mountinfo || true";
  expect(await inside([], masks)).not.toBe("0");
  expect(await inside(["--security-opt", "systempaths=unconfined"], masks)).toBe("0");
  expect(await refusal({ SecurityOpt: ["nope"] })).toBe('400 invalid --security-opt 1: "nope"');
  expect(await refusal({ SecurityOpt: ["what=ever"] })).toBe('400 invalid --security-opt 2: "what=ever"');
  expect(await refusal({ SecurityOpt: ["no-new-privileges=maybe"] })).toBe(
    '400 invalid --security-opt 2: "no-new-privileges=maybe"',
  );
  const { hasAppArmor } = {
    hasAppArmor: (await berth.dockerOK("info", "-f", "{{.SecurityOptions}}")).includes("apparmor"),
  };
  if (!hasAppArmor) {
    expect(await refusal({ SecurityOpt: ["apparmor=mine"] })).toBe(
      "400 apparmor: config provided but apparmor not supported",
    );
  }
});

test("writable-cgroups: its own cgroups may be written", async () => {
  const mode = "grep -E ' /sys/fs/cgroup(/[^ ]*)? ' /proc/mounts | grep cgroup | tail -1 | cut -d' ' -f4 | cut -c1-2";
  expect(await inside([], mode)).toBe("ro");
  expect(await inside(["--security-opt", "writable-cgroups=true"], mode)).toBe("rw");
  expect(await inside(["--security-opt", "writable-cgroups=false"], mode)).toBe("ro");
});

test("masked and read-only paths: the engine's for null, those given, none for an empty list", async () => {
  const look = async (paths: object): Promise<string> => {
    const body = {
      Image: "busybox",
      Cmd: [
        "sh",
        "-c",
        "cat /etc/group | wc -l; ls /www | wc -l; touch /home/x 2>/dev/null && echo written; grep -c ' /proc/' /proc/self/mountinfo",
      ],
      HostConfig: paths,
    };
    const { Id } = (await (await berth.request("POST", "/containers/create", { body })).json()) as { Id: string };
    const { stdout } = await berth.docker(["start", "-a", Id]);
    await berth.dockerOK("rm", Id);
    return stdout.trim().replaceAll("\n", " ");
  };
  expect(await look({ MaskedPaths: [], ReadonlyPaths: [] })).toBe("3 1 written 0");
  expect(await look({ MaskedPaths: ["/etc/group", "/www", "/none"], ReadonlyPaths: ["/home", "/none"] })).toBe("0 0 0");
  expect(await look({ MaskedPaths: null, ReadonlyPaths: null })).toMatch(/^3 1 written [1-9]/);
});

test("capabilities by any spelling, all of them, and names that are none", async () => {
  const effective = async (...flags: string[]): Promise<bigint> =>
    BigInt(`0x${await inside(flags, "grep CapEff /proc/self/status | cut -f2")}`);
  const NET_ADMIN = 1n << 12n,
    CHOWN = 1n;
  const usual = await effective();
  expect(usual & (NET_ADMIN | CHOWN)).toBe(CHOWN);
  for (const name of ["NET_ADMIN", "cap_net_admin", "CAP_NET_ADMIN"]) {
    expect(await effective("--cap-add", name)).toBe(usual | NET_ADMIN);
  }
  expect(await effective("--cap-drop", "chown")).toBe(usual & ~CHOWN);
  expect(await effective("--cap-drop", "ALL")).toBe(0n);
  expect(await effective("--cap-drop", "ALL", "--cap-add", "NET_ADMIN")).toBe(NET_ADMIN);
  const all = await effective("--cap-add", "ALL");
  expect(await effective("--cap-add", "ALL", "--cap-drop", "CHOWN")).toBe(all & ~CHOWN);
  expect(await refusal({ CapAdd: ["CAP_FLY"] })).toBe('400 unknown capability: "CAP_FLY"');
  expect(await refusal({ CapDrop: ["fly"] })).toBe('400 unknown capability: "CAP_FLY"');
});

test("IPC: of its own with or without /dev/shm, shared with those who may, or the host's", async () => {
  const shm = "grep -c ' /dev/shm ' /proc/mounts || true";
  expect(await inside(["--ipc", "none"], shm)).toBe("0");
  expect(await inside(["--ipc", "private"], shm)).toBe("1");
  expect(namespace(process.pid, "ipc")).toBe(await inside(["--ipc", "host"], "readlink /proc/self/ns/ipc"));
  await berth.dockerOK("run", "-d", "--name", "giver", "--ipc", "shareable", "busybox", "sleep", "100");
  await berth.dockerOK("run", "-d", "--name", "loner", "busybox", "sleep", "100");
  await berth.dockerOK("exec", "giver", "sh", "-c", "echo shared > /dev/shm/x");
  const seen = await inside(["--ipc", "container:giver"], "cat /dev/shm/x; readlink /proc/self/ns/ipc");
  expect(seen).toBe(`shared\n${namespace(await pidOf("giver"), "ipc")}`);
  expect((await run(["--ipc", "container:loner"], "true")).stderr).toContain(
    "non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
  );
  expect((await run(["--ipc", "container:nobody"], "true")).stderr).toContain("No such container: nobody");
  expect(await refusal({ IpcMode: "sideways" })).toBe("400 invalid IPC mode: sideways");
  // Renamed: what shares with it knows it by its ID.
  await berth.dockerOK("create", "--name", "taker", "--ipc", "container:giver", "busybox", "cat", "/dev/shm/x");
  await berth.dockerOK("rename", "giver", "renamed");
  expect(await berth.dockerOK("start", "-a", "taker")).toBe("shared");
  await berth.dockerOK("rm", "-f", "renamed", "loner", "taker");
});

test("PID, UTS and cgroup namespaces: the host's, another container's, its own", async () => {
  expect(await inside(["--pid", "host"], "readlink /proc/self/ns/pid")).toBe(namespace(process.pid, "pid"));
  await berth.dockerOK("run", "-d", "--name", "first", "busybox", "sleep", "987");
  expect(await inside(["--pid", "container:first"], "ps -o args | grep -c 'sleep 98[7]'")).toBe("1");
  expect(await inside(["--network", "container:first"], "readlink /proc/self/ns/net")).toBe(
    namespace(await pidOf("first"), "net"),
  );
  await berth.dockerOK("rm", "-f", "first");
  expect((await run(["--pid", "container:first"], "true")).stderr).toContain("No such container");
  expect(await inside(["--uts", "host"], "hostname; readlink /proc/self/ns/uts")).toBe(
    `${hostname()}\n${namespace(process.pid, "uts")}`,
  );
  expect(await inside(["--cgroupns", "private"], "cat /proc/self/cgroup | cut -d: -f3 | sort -u | head -1")).toBe("/");
  expect(await inside(["--cgroupns", "host"], "readlink /proc/self/ns/cgroup")).toBe(namespace(berth.pid, "cgroup"));
  expect(await refusal({ PidMode: "sideways" })).toBe("400 invalid PID mode: sideways");
  expect(await refusal({ UTSMode: "sideways" })).toBe("400 invalid UTS mode: sideways");
  expect(await refusal({ CgroupnsMode: "sideways" })).toBe("400 invalid cgroup namespace mode: sideways");
  expect(await refusal({ UsernsMode: "sideways" })).toBe("400 invalid user namespace mode: sideways");
  expect(await refusal({ UTSMode: "host" }, { Hostname: "h" })).toBe(
    "400 conflicting options: hostname and the UTS mode",
  );
  expect(await inside(["--userns", "host"], "readlink /proc/self/ns/user")).toBe(namespace(process.pid, "user"));
});

test("privileged beside each namespace of the host's", async () => {
  const script =
    "for n in pid ipc uts; do readlink /proc/self/ns/$n; done; ls -d /sys/kernel/mm >/dev/null && echo sys";
  const flags = [
    "--privileged",
    "--pid",
    "host",
    "--ipc",
    "host",
    "--uts",
    "host",
    "--network",
    "host",
    "--cgroupns",
    "host",
  ];
  const own = ["pid", "ipc", "uts"].map((type) => namespace(process.pid, type));
  expect(await inside(flags, script)).toBe([...own, "sys"].join("\n"));
});

test("host name and domain name, as long as the kernel lets them be", async () => {
  expect(
    await inside(
      ["--hostname", "box", "--domainname", "example.org"],
      "hostname; cat /proc/sys/kernel/domainname; hostname -f",
    ),
  ).toBe("box\nexample.org\nbox.example.org");
  const long = "h".repeat(65);
  expect(await refusal({}, { Hostname: long })).toBe(`400 hostname "${long}" is too long (maximum 64 bytes)`);
  expect(await refusal({}, { Domainname: long })).toBe(`400 domainname "${long}" is too long (maximum 64 bytes)`);
  expect(await inside(["--hostname", "h".repeat(64)], "hostname | wc -c")).toBe("65");
});

test("legacy links: variables and hosts entries of the other container", async () => {
  await berth.dockerOK(
    "run",
    "-d",
    "--name",
    "db",
    "-h",
    "dbhost",
    "-e",
    "MODE=fast",
    "--expose",
    "5432",
    "--expose",
    "53/udp",
    "busybox",
    "sleep",
    "100",
  );
  const address = await berth.dockerOK("inspect", "db", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
  await berth.dockerOK(
    "create",
    "--name",
    "app",
    "--link",
    "db:my-db",
    "busybox",
    "sh",
    "-c",
    "env | grep ^MY_DB | sort; grep dbhost /etc/hosts",
  );
  await berth.dockerOK("rename", "db", "database");
  expect(await berth.dockerOK("start", "-a", "app")).toBe(
    [
      "MY_DB_ENV_MODE=fast",
      "MY_DB_NAME=/app/my-db",
      `MY_DB_PORT=udp://${address}:53`,
      `MY_DB_PORT_53_UDP=udp://${address}:53`,
      `MY_DB_PORT_53_UDP_ADDR=${address}`,
      "MY_DB_PORT_53_UDP_PORT=53",
      "MY_DB_PORT_53_UDP_PROTO=udp",
      `MY_DB_PORT_5432_TCP=tcp://${address}:5432`,
      `MY_DB_PORT_5432_TCP_ADDR=${address}`,
      "MY_DB_PORT_5432_TCP_PORT=5432",
      "MY_DB_PORT_5432_TCP_PROTO=tcp",
      `${address}\tmy-db dbhost database`,
    ].join("\n"),
  );
  expect(await berth.dockerOK("inspect", "app", "--format", "{{.HostConfig.Links}}")).toBe("[/database:/app/my-db]");
  await berth.dockerOK("stop", "-t", "0", "database");
  expect((await berth.docker(["start", "app"])).stderr).toContain(
    "Cannot link to a non running container: /database AS /app/my-db",
  );
  expect(await refusal({ Links: ["nobody:x"] })).toBe("400 could not get container for nobody");
  await berth.dockerOK("rm", "-f", "app", "database");
});

test("the daemon's own defaults: seccomp profile, new privileges, IPC and cgroup namespaces", async () => {
  const path = join(host, "default.json");
  const syscalls = [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO" }];
  writeFileSync(path, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls }));
  const args = [
    "--seccomp-profile",
    path,
    "--no-new-privileges",
    "--default-ipc-mode",
    "shareable",
    "--default-cgroupns-mode",
    "private",
  ];
  await using other = await TestDaemon.start({ args: [...args, "--bridge", "none"] });
  await loadBusybox(other);
  const said = async (...flags: string[]) =>
    await other.docker([
      "run",
      "--rm",
      ...flags,
      "busybox",
      "sh",
      "-c",
      "grep NoNewPrivs /proc/self/status | cut -f2; mkdir /x 2>&1",
    ]);
  expect((await said()).stdout).toBe("1\nmkdir: can't create directory '/x': Operation not permitted\n");
  expect((await said("--security-opt", "seccomp=builtin", "--security-opt", "no-new-privileges=false")).stdout).toBe(
    "0\n",
  );
  expect(await other.dockerOK("info", "-f", "{{.SecurityOptions}}")).toContain(`name=seccomp,profile=${path}`);
  await other.dockerOK("create", "--name", "plain", "busybox");
  expect(
    await other.dockerOK("inspect", "plain", "--format", "{{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}}"),
  ).toBe("shareable private");
  const binary = join(import.meta.dir, "../../dist/berth");
  const refused = await exec([
    binary,
    "-H",
    `unix://${host}/s`,
    "--data-root",
    `${host}/data`,
    "--exec-root",
    `${host}/exec`,
    "--pidfile",
    `${host}/pid`,
    "--bridge",
    "none",
    "--seccomp-profile",
    "/none",
  ]);
  expect(refused.stderr).toContain("opening seccomp profile (/none) failed");
});

test("a container without networks, and one with an address of its own", async () => {
  const output = async (config: object, script: string): Promise<string> => {
    const body = { Image: "busybox", Cmd: ["sh", "-c", script], ...config };
    const { Id } = (await (await berth.request("POST", "/v1.43/containers/create", { body })).json()) as { Id: string };
    const { stdout } = await berth.docker(["start", "-a", Id]);
    await berth.dockerOK("rm", Id);
    return stdout.trim();
  };
  expect(await output({ NetworkDisabled: true }, "ls /sys/class/net; readlink /proc/self/ns/net")).toMatch(/^lo\nnet:/);
  expect(await output({ MacAddress: "02:42:ac:11:00:09" }, "cat /sys/class/net/eth0/address")).toBe(
    "02:42:ac:11:00:09",
  );
});

test("every namespace is the container's own by default", async () => {
  await berth.dockerOK("run", "-d", "--name", "own", "busybox", "sleep", "100");
  const pid = await pidOf("own");
  const shared = ["mnt", "uts", "ipc", "pid", "net"].filter(
    (type) => namespace(pid, type) === namespace(berth.pid, type),
  );
  expect(shared).toEqual([]);
  expect(readFileSync(`/proc/${pid}/status`, "utf8")).toContain("NoNewPrivs:\t0");
  await berth.dockerOK("rm", "-f", "own");
});

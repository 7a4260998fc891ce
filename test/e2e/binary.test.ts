// The executable alone: in a tree with nothing but libc, with a /tmp that takes nothing, among settings that mean another
// Bun; as the service manager starts it; and built for another processor.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Fd } from "../../runtime/sys/fd.ts";
import { alloc, check, syscall } from "../../runtime/sys/ffi.ts";
import { busyboxArchive } from "../support/busybox.ts";
import { type Ran, run, until } from "../support/daemon.ts";

const REPO = join(import.meta.dir, "../..");
const BINARY = join(REPO, "dist/berth");
const CHROOT = Bun.which("chroot", { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" }) ?? "chroot";
const parent = `/berth-test-binary-${randomBytes(4).toString("hex")}`;

/** A root directory: the executable, what the loader loads for it, and empty directories. */
const root = mkdtempSync(join(tmpdir(), "berth-tree-"));

beforeAll(async () => {
  for (const name of ["proc", "sys", "dev", "tmp", "run", "etc"]) mkdirSync(join(root, name));
  const { stdout } = await run(["ldd", BINARY]);
  for (const [, library = ""] of stdout.matchAll(/(\/\S+) \(0x/g)) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    copyFileSync(library, join(root, library));
  }
  copyFileSync(BINARY, join(root, "berth"));
  symlinkSync("berth", join(root, "dockerd"));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
  for (const directory of cgroups()) {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) rmdirSync(join(directory, entry.name));
    }
    rmdirSync(directory);
  }
});

function cgroups(): string[] {
  const mount = "/sys/fs/cgroup";
  const hierarchies = existsSync(`${mount}/cgroup.controllers`) ? [""] : readdirSync(mount);
  return hierarchies.map((name) => join(mount, name, parent)).filter((path) => existsSync(path));
}

interface Start {
  env?: Record<string, string>;
  /** Options of the tmpfs on /tmp. */
  tmp?: string;
  /** /sys and /dev are there too, as in a chroot where programs are to run. */
  hasDevices?: boolean;
  /** Descriptor 3, announced as systemd does. */
  socket?: Fd;
}

/** Starts a program of the tree, chrooted, in network and mount namespaces of its own. */
function start(command: string[], { env = {}, tmp = "ro", hasDevices = false, socket }: Start = {}): Bun.Subprocess {
  const mounts = [
    `mount -t proc proc ${root}/proc`,
    `mount -t tmpfs -o ${tmp} tmpfs ${root}/tmp`,
    ...(hasDevices ? [`mount --rbind /sys ${root}/sys`, `mount --rbind /dev ${root}/dev`] : []),
    "ip link set lo up",
  ];
  const activation = socket ? "LISTEN_PID=$$ LISTEN_FDS=1" : "";
  const script = `set -e; ${mounts.join("; ")}; exec env -i ${activation} "$@"`;
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const namespaces = ["unshare", "--net", "--mount", "--propagation", "private"];
  return Bun.spawn([...namespaces, "sh", "-c", script, "sh", ...variables, CHROOT, root, ...command], {
    stdio: ["ignore", "pipe", "pipe", ...(socket ? [socket.number] : [])] as ["ignore", "pipe", "pipe"],
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
}

async function ended(child: Bun.Subprocess): Promise<Ran> {
  const text = (stream: Bun.Subprocess["stdout"]): Promise<string> => new Response(stream as ReadableStream).text();
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), child.exited]);
  return { stdout, stderr, code };
}

const ask = (command: string[], options: Start = {}): Promise<Ran> => ended(start(command, options));

const SERVE = ["/berth", "serve", "--cgroup-parent", parent, "--data-root", "/data"];
const SOCKET = join(root, "run/berth.sock");
const ping = async (path = SOCKET): Promise<string> =>
  await (await fetch("http://berth/_ping", { unix: path } as RequestInit)).text();

/** Runs `work` while the daemon serves, then ends it by SIGTERM: its exit code, and what it logged. */
async function serving(daemon: Bun.Subprocess, work: () => Promise<void>, path = SOCKET): Promise<Ran> {
  const end = ended(daemon);
  try {
    await until("it answers", async () => {
      if (daemon.exitCode !== null) throw new Error((await end).stderr);
      return (await ping(path).catch(() => "")) === "OK";
    });
    await work();
  } finally {
    daemon.kill("SIGTERM");
  }
  return await end;
}

describe("in a tree with libc and /proc alone", () => {
  test("it says its version, also under the name dockerd", async () => {
    const { version } = JSON.parse(readFileSync(join(REPO, "package.json"), "utf8")) as { version: string };
    const berth = await ask(["/berth", "--version"]);
    expect(berth).toMatchObject({ stderr: "", code: 0 });
    expect(berth.stdout).toStartWith(`berth version ${version}, build `);
    expect((await ask(["/dockerd", "--version"])).stdout).toStartWith(`Docker version ${version}, build `);
  });

  test("it checks its configuration, and refuses a flag that it does not know before it touches anything", async () => {
    expect(await ask(["/berth", "--validate"])).toEqual({ stdout: "", stderr: "configuration OK\n", code: 0 });
    const refused = await ask(["/berth", "--no-such-flag", "--data-root", "/nothing"]);
    expect(refused).toMatchObject({ stdout: "", code: 1 });
    expect(refused.stderr).toStartWith("unknown flag: --no-such-flag\n");
    expect(existsSync(join(root, "nothing"))).toBe(false);
    expect(readdirSync(join(root, "run"))).toEqual([]);
  });

  test("doctor finds what is missing and says so", async () => {
    const { stdout, code } = await ask(["/berth", "doctor", "--cgroup-parent", parent]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Missing on this machine: .*cgroup/m);
  });
});

describe("in a chroot with /sys and /dev", () => {
  test("doctor runs its container", async () => {
    const { stdout, stderr, code } = await ask(["/berth", "doctor", "--cgroup-parent", parent], { hasDevices: true });
    expect(`${stdout}${stderr}`).toMatch(/^container +ok .*Hello from a container/m);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  test.each(["ro", "noexec,nosuid,nodev"])(
    "it serves with a /tmp that is %s, and its containers stay inside",
    async (tmp) => {
      const daemon = start(SERVE, { hasDevices: true, tmp });
      const docker = async (...args: string[]): Promise<string> => {
        const env = { PATH: process.env.PATH ?? "", DOCKER_HOST: `unix://${SOCKET}`, DOCKER_CONFIG: root };
        const { stdout, stderr, code } = await run(["docker", ...args], { env });
        if (code !== 0) throw new Error(stderr);
        return stdout.trim();
      };
      const { stderr, code } = await serving(daemon, async () => {
        await docker("load", "-i", await busyboxArchive());
        expect(await docker("run", "--rm", "busybox", "echo", "hi")).toBe("hi");
        await docker("run", "-d", "--name", "stays", "-v", "/etc:/host:ro", "busybox", "sleep", "1000");
        try {
          // The root of its mount namespace is the container's own: there is nothing above it to climb to.
          const pid = await docker("inspect", "stays", "--format", "{{.State.Pid}}");
          expect((await run(["nsenter", "--target", pid, "--mount", "/bin/busybox", "ls", "/www"])).stdout).toBe(
            "index.html\n",
          );
          expect(await docker("exec", "stays", "ls", "/host")).toBe("");
        } finally {
          await docker("rm", "-f", "stays");
        }
      });
      expect(
        stderr.split("\n").filter((line) => /level=(warn|error)/.test(line) && !line.includes("no group docker")),
      ).toEqual([]);
      expect(code).toBe(0);
    },
  );
});

describe("settings that are not berth's", () => {
  test("a preload, a .env and Bun's own variables change nothing", async () => {
    writeFileSync(join(root, "evil.js"), 'require("node:fs").writeFileSync("/evil", "ran");');
    writeFileSync(join(root, "bunfig.toml"), 'preload = ["/evil.js"]\n');
    writeFileSync(join(root, ".env"), "DOCKER_TLS_VERIFY=1\nBUN_OPTIONS=--preload=/evil.js\n");
    const settings: Record<string, string>[] = [
      {},
      { BUN_BE_BUN: "1" },
      { BUN_OPTIONS: "--preload=/evil.js" },
      { BUN_INSPECT_PRELOAD: "/evil.js" },
      { BUN_INSPECT: "127.0.0.1:6499?wait=1" },
      { BUN_INSPECT_NOTIFY: "unix:///run/notify.sock", BUN_INSPECT_CONNECT_TO: "unix:///run/inspect.sock" },
      { BUN_CONFIG_FILE: "/bunfig.toml", NODE_OPTIONS: "--require=/evil.js" },
    ];
    for (const env of settings) {
      const { stdout, code } = await ask(["/berth", "--version"], { env });
      expect({ env, code, isOurs: stdout.startsWith("berth version ") }).toEqual({ env, code: 0, isOurs: true });
    }
    expect(existsSync(join(root, "evil"))).toBe(false);
    // A variable of Docker's that berth honours: from the environment, not from the file.
    const open = ["/berth", "--validate", "-H", "tcp://127.0.0.1:2375"];
    expect((await ask(open, { env: { DOCKER_TLS_VERIFY: "1" } })).code).toBe(0);
    expect((await ask(open)).stderr).toStartWith("refusing to listen on tcp://127.0.0.1:2375");
    for (const name of ["evil.js", "bunfig.toml", ".env"]) rmSync(join(root, name));
  });
});

const AF_UNIX = 1,
  SOCK_STREAM = 1,
  SOCK_DGRAM = 2,
  SOCK_CLOEXEC = 0o2000000,
  MSG_DONTWAIT = 0x40;

/** A socket of ours at a path inside the tree. */
function boundSocket(type: number, name: string): Fd {
  const path = join(root, name);
  const socket = new Fd(check("socket", [AF_UNIX, type | SOCK_CLOEXEC, 0]));
  const address = alloc(2 + path.length + 1);
  address[0] = AF_UNIX;
  address.set(new TextEncoder().encode(path), 2);
  check("bind", [socket.number, address, address.length], { path });
  return socket;
}

describe("under a service manager", () => {
  const quiet = ["--bridge", "none", "--iptables=false"];

  test("it reports that it is ready, and that it stops", async () => {
    using socket = boundSocket(SOCK_DGRAM, "run/notify");
    let heard = "";
    const listen = (): string => {
      const buffer = alloc(512);
      for (;;) {
        const count = syscall("recvfrom", socket.number, buffer, 512, MSG_DONTWAIT, null, null);
        if (count < 0) return heard;
        heard += `${new TextDecoder().decode(buffer.subarray(0, count))}\n`;
      }
    };
    const daemon = start([...SERVE, ...quiet], { hasDevices: true, env: { NOTIFY_SOCKET: "/run/notify" } });
    const { code } = await serving(
      daemon,
      async () => await until("it is ready", () => listen().includes("READY=1\n")),
    );
    expect({ code, heard: listen() }).toEqual({ code: 0, heard: "READY=1\nSTATUS=serving\nSTOPPING=1\n" });
  });

  test("it serves the socket that it is started with", async () => {
    using socket = boundSocket(SOCK_STREAM, "run/activated.sock");
    check("listen", [socket.number, 16]);
    const daemon = start([...SERVE, ...quiet, "-H", "fd://"], { hasDevices: true, socket });
    const path = join(root, "run/activated.sock");
    const { code } = await serving(daemon, async () => expect(await ping(path)).toBe("OK"), path);
    expect(code).toBe(0);
    // The socket is the service manager's: it is still there, and no other was made.
    expect(existsSync(path)).toBe(true);
    expect(existsSync(SOCKET)).toBe(false);
  });

  test("without a socket, fd:// is an error", async () => {
    const { code, stderr } = await ask([...SERVE, ...quiet, "-H", "fd://"], { hasDevices: true });
    expect(code).toBe(1);
    expect(stderr).toContain("no sockets were handed over");
  });
});

test("it is built for 64-bit Arm too, and runs there", async () => {
  const built = await run([process.execPath, "compile.ts", "--target", "linux-arm64"], { cwd: REPO });
  expect({ code: built.code, stderr: built.stderr }).toEqual({ code: 0, stderr: "" });
  const isNative = process.arch === "arm64";
  const path = isNative ? BINARY : join(REPO, "dist/berth-linux-arm64");
  const head = Buffer.alloc(20);
  using file = new Fd(openSync(path, "r"));
  readSync(file.number, head, 0, 20, 0);
  const EM_AARCH64 = 183;
  expect(head.subarray(0, 4).toString("latin1")).toBe("\x7fELF");
  expect(head.readUInt16LE(18)).toBe(EM_AARCH64);
  const emulator = isNative ? [] : ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"];
  const { stdout, code } = await run([...emulator, path, "--version"]);
  expect({ code, isOurs: stdout.startsWith("berth version ") }).toEqual({ code: 0, isOurs: true });
}, 120_000);

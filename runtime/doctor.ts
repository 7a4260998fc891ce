// What containers need of this kernel, each thing tried for real rather than looked up: a namespace is made, a filter loaded,
// a table of rules written in a network namespace that is thrown away. Called by `berth doctor` alone, which enters the
// runtime here. Nothing is left behind, and nothing of the host's own namespaces is changed.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { createCgroup } from "./cgroup/cgroup.ts";
import { USED_V1, USED_V2 } from "./cgroup/place.ts";
import type { HostFacts } from "./mod.ts";
import { parseCIDR } from "./net/address.ts";
import { firewallTable } from "./net/firewall.ts";
import { NETLINK } from "./net/netlink.ts";
import { plug, routesIn } from "./net/netns.ts";
import { NftablesClient } from "./net/nftables.ts";
import { createNetns, socketIn } from "./program/batch.ts";
import { Label, Load, Program } from "./program/program.ts";
import { openQuotas } from "./quotas.ts";
import { errnoName, errnoText } from "./sys/errno.ts";
import { eventfd } from "./sys/eventfd.ts";
import { Fd } from "./sys/fd.ts";
import { check } from "./sys/ffi.ts";
import { executableMemfd, O, openInRoot, openPath, writeAll } from "./sys/file.ts";
import { cloneTree, newFileSystem, setReadOnly } from "./sys/mount.ts";
import { NAMESPACES } from "./sys/namespace.ts";
import { openPidfd, takeDescriptor } from "./sys/process.ts";
import { AF, SOCK } from "./sys/socket.ts";

export interface Finding {
  name: string;
  /** limited: containers run without it, with less. */
  state: "ok" | "missing" | "limited";
  detail: string;
  /** What needs it. */
  neededFor: string;
}

interface Probe {
  name: string;
  neededFor: string;
  /** What its absence means. */
  otherwise: "missing" | "limited";
  /** Answers a detail for the table, or throws. */
  run: () => Promise<string> | string;
}

export interface DoctorOptions {
  facts: HostFacts;
  /** A directory on the file system of the data root; exists. */
  directory: string;
  /** Beside which a cgroup is made for a moment. */
  cgroupParent: string;
}

/** Runs every probe, one after the other. */
export async function examine(options: DoctorOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, neededFor, otherwise, run } of allProbes(options)) {
    try {
      findings.push({ name, state: "ok", detail: await run(), neededFor });
    } catch (error) {
      findings.push({
        name,
        state: otherwise,
        detail: error instanceof Error ? error.message : String(error),
        neededFor,
      });
    }
  }
  return findings;
}

function allProbes(options: DoctorOptions): Probe[] {
  return [
    ...processProbes(options),
    ...namespaceProbes(),
    ...fileProbes(options),
    ...cgroupProbes(options),
    ...networkProbes(options),
  ];
}

const MINIMUM_KERNEL = [5, 11] as const;

function processProbes({ facts }: DoctorOptions): Probe[] {
  return [
    must("kernel", "everything", () => {
      const [major = 0, minor = 0] = facts.kernelVersion.split(/[.-]/).map(Number);
      const isEnough = major > MINIMUM_KERNEL[0] || (major === MINIMUM_KERNEL[0] && minor >= MINIMUM_KERNEL[1]);
      if (!isEnough) throw new Error(`${facts.kernelVersion}: Linux ${MINIMUM_KERNEL.join(".")} or newer is needed`);
      return `${facts.kernelVersion} ${facts.arch}`;
    }),
    must("program from memory", "starting containers", async () => {
      await runProgram((program) => program.step("exit_group", [0]));
      return "memfd_create, execve";
    }),
    must("clone3", "starting containers (cgroup v2)", () =>
      runProgram((program) => {
        const child = new Label("child");
        // struct clone_args of 88 bytes: flags, pidfd, child_tid, parent_tid, exit_signal (SIGCHLD) …
        program.step("clone3", [program.words([0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0]), 88], {
          zero: child,
          title: "clone3",
        });
        program.step("wait4", [-1, null, 0, null], { title: "wait4" });
        program.step("exit_group", [0]);
        program.mark(child);
        program.step("exit_group", [0]);
      }),
    ),
    must("seccomp filter", "the default system call filter", () =>
      runProgram((program) => {
        const PR_SET_NO_NEW_PRIVS = 38,
          SECCOMP_SET_MODE_FILTER = 1;
        // One instruction, BPF_RET | BPF_K SECCOMP_RET_ALLOW, in a struct sock_fprog {u16 length; sock_filter *}.
        const filter = program.words([0x7fff0000_00000006n]);
        program.step("prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0], { title: "prctl" });
        program.step("seccomp", [SECCOMP_SET_MODE_FILTER, 0, program.words([1, filter])], { title: "seccomp" });
        program.step("exit_group", [0]);
      }),
    ),
    must("pidfd", "signals, exec and finding containers again after a restart", () => {
      using pidfd = openPidfd(process.pid);
      if (pidfd === null) throw new Error("pidfd_open finds no process");
      using event = eventfd();
      takeDescriptor(pidfd, event.number).close();
      return "pidfd_open, pidfd_getfd";
    }),
    may("AppArmor", "the docker-default profile", () =>
      facts.hasAppArmor ? "enabled" : absent("not enabled in this kernel, or securityfs is not mounted"),
    ),
  ];
}

function namespaceProbes(): Probe[] {
  return Object.entries(NAMESPACES).map(([name, { flag }]) => ({
    name: `${name} namespace`,
    neededFor: name === "user" ? "userns-remap" : "isolation",
    otherwise: name === "user" ? "limited" : "missing",
    run: () =>
      runProgram((program) => {
        program.step("unshare", [flag], { title: "unshare" });
        program.step("exit_group", [0]);
      }),
  }));
}

function fileProbes({ directory }: DoctorOptions): Probe[] {
  return [
    must("openat2", "paths inside containers", () => {
      using root = openPath("/", O.PATH | O.DIRECTORY);
      openInRoot(root, "../../proc/self", O.PATH).close();
      return "RESOLVE_IN_ROOT";
    }),
    must("mount API", "mounts inside containers", () => {
      newFileSystem("tmpfs", [["size", "64k"]], 0).close();
      using tree = cloneTree("/proc/self", { recursive: false });
      setReadOnly(tree);
      return "fsopen, open_tree, mount_setattr";
    }),
    must("private terminals", "docker run -t", () => {
      newFileSystem(
        "devpts",
        [
          ["newinstance", null],
          ["ptmxmode", "0666"],
        ],
        0,
      ).close();
      return "devpts newinstance";
    }),
    may("project quotas", "--storage-opt size, the size of a volume", () =>
      openQuotas(directory) === null
        ? absent("none on this file system: ext4 or XFS with prjquota has them")
        : "enforced",
    ),
    may("overlayfs", "storage without copies", () => {
      using work = scratch(directory);
      mountOverlay(work.path);
      return `on ${dirname(directory)}`;
    }),
    must("inotify", "following files", () => {
      const IN_CLOEXEC = 0o2000000;
      new Fd(check("inotify_init1", [IN_CLOEXEC])).close();
      return "";
    }),
  ];
}

/** A detached overlay of directories made below `path`; nothing is put on the mount table. */
function mountOverlay(path: string): void {
  for (const name of ["lower", "upper", "work"]) mkdirSync(join(path, name));
  const option = (key: string, name: string): [string, string] => [key, join(path, name)];
  newFileSystem(
    "overlay",
    [option("lowerdir", "lower"), option("upperdir", "upper"), option("workdir", "work")],
    0,
  ).close();
}

function cgroupProbes({ facts, cgroupParent }: DoctorOptions): Probe[] {
  const wanted: readonly string[] = facts.cgroupVersion === 1 ? USED_V1 : USED_V2;
  return [
    must(`cgroup v${facts.cgroupVersion}`, "limits, statistics, pause", async () => {
      const cgroup = await createCgroup(facts, `${cgroupParent}-doctor-${process.pid}`, {
        devices: [{ allow: true, type: "c", major: 1, minor: 3, access: "rwm" }],
        ...(facts.controllers.has("pids") && { pids: { limit: 10 } }),
        ...(facts.controllers.has("memory") && { memory: { limit: 16 << 20 } }),
      });
      await cgroup.remove();
      return facts.cgroupVersion === 1 ? "made with limits and device rules" : "made with limits and a device program";
    }),
    may("cgroup controllers", "the limits of each", () => {
      const missing = wanted.filter((name) => !facts.controllers.has(name));
      return missing.length > 0 ? absent(`without ${missing.join(", ")}`) : wanted.join(" ");
    }),
    may("swap accounting", "--memory-swap", () =>
      facts.hasSwapAccounting ? "" : absent("the kernel does not count swap"),
    ),
  ];
}

function networkProbes({ facts }: DoctorOptions): Probe[] {
  return [
    must("bridge and veth", "bridge networks", () => {
      using outside = createNetns();
      using inside = createNetns();
      using routes = routesIn(outside);
      routes.addBridge("probe0", { mac: "02:00:00:00:00:01", mtu: 1500 });
      plug(routes, {
        netns: inside,
        interfaceName: "eth0",
        hostName: "probe1",
        bridgeIndex: routes.link("probe0")?.index ?? 0,
        mac: "02:00:00:00:00:02",
        mtu: 1500,
        addresses: [],
        gateways: [],
        isHairpin: false,
        isIsolated: false,
        sysctls: [],
      });
      return "";
    }),
    must("nf_tables with NAT", "published ports, masquerading", () => {
      using netns = createNetns();
      using client = new NftablesClient(socketIn(netns, AF.NETLINK, SOCK.RAW, NETLINK.NETFILTER));
      const network = parseCIDR("10.250.0.1/24");
      const target = parseCIDR("10.250.0.2/24");
      const anywhere = parseCIDR("0.0.0.0/0");
      if (!network || !target || !anywhere) throw new Error("addresses of the probe");
      client.replaceTable(
        firewallTable("probe", {
          bridges: [
            {
              name: "probe0",
              subnets: [network.subnet],
              isInternal: false,
              allowsTraffic: true,
              masquerades: [4],
              unprotected: [],
              routed: [],
              trustedInterfaces: [],
            },
          ],
          ports: [
            {
              protocol: "tcp",
              hostIP: anywhere.address,
              hostPort: 8080,
              target: target.address,
              targetPort: 80,
              owner: "probe",
            },
          ],
          leavesIPv6: false,
          allowsDirectRouting: false,
          acceptMark: null,
        }),
      );
      return "the rules of a bridge and of a published port";
    }),
    may("IPv6", "IPv6 networks", () => (facts.hasIPv6 ? "" : absent("not in this kernel"))),
  ];
}

const must = (name: string, neededFor: string, run: Probe["run"]): Probe => ({
  name,
  neededFor,
  otherwise: "missing",
  run,
});
const may = (name: string, neededFor: string, run: Probe["run"]): Probe => ({
  name,
  neededFor,
  otherwise: "limited",
  run,
});

function absent(why: string): never {
  throw new Error(why);
}

/**
 * Runs system calls in a process of their own: a single thread, which may enter namespaces and filters that the daemon's many
 * may not. The exit status carries the errno of the step that failed.
 */
async function runProgram(build: (program: Program) => void): Promise<string> {
  const program = new Program(process.arch === "arm64" ? "arm64" : "x64");
  build(program);
  program.mark(program.failure);
  // The low byte of -errno: every errno that these calls give is below 128.
  program.step("exit_group", [new Load(program.context)]);
  using file = executableMemfd("berth-doctor");
  if (file === null)
    throw new Error("vm.memfd_noexec=2 forbids it; berth writes its programs to the data root instead");
  writeAll(file, program.toImage().bytes);
  const child = Bun.spawn([`/proc/${process.pid}/fd/${file.number}`], {
    stdio: ["ignore", "ignore", "ignore"],
    env: {},
  });
  const status = await child.exited;
  if (child.signalCode !== null) throw new Error(`killed by ${child.signalCode}`);
  if (status !== 0) throw new Error(`${errnoName(256 - status)}: ${errnoText(256 - status)}`);
  return "";
}

function scratch(directory: string): Disposable & { path: string } {
  const path = mkdtempSync(join(directory, "doctor-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A program that writes a text to its output and ends: the workload of doctor's container. */
export function writeHelloProgram(path: string, text: string): void {
  const program = new Program(process.arch === "arm64" ? "arm64" : "x64");
  const bytes = new TextEncoder().encode(text);
  program.step("write", [1, bytes, bytes.length]);
  program.step("exit_group", [0]);
  program.mark(program.failure);
  program.step("exit_group", [1]);
  writeFileSync(path, program.toImage().bytes, { mode: 0o755 });
}

export { readHostFacts } from "./facts.ts";

// The container's first process, from clone to execve: cgroups, namespaces, the root file system, mounts, devices, then
// the workload. Read from top to bottom; DESIGN of the order:
//
//   1  rights are complete and the host's tree is in sight: cgroups, namespaces, names, the root file system
//   2  everything to be mounted is made detached
//   3  pivot_root; the host is out of reach
//   4  attach, devices, masks
//   5  workload.ts
import type { Rootfs } from "../bundle.ts";
import { O } from "../sys/file.ts";
import { MOUNT_ATTR } from "../sys/mount.ts";
import { CLONE } from "../sys/namespace.ts";
import type { Arch } from "../sys/arch.ts";
import { Calls } from "./calls.ts";
import { DESCRIPTOR, REPORT_BYTES } from "./descriptors.ts";
import {
  addConsole,
  addDeviceLinks,
  addDevices,
  copyDeviceNodes,
  devicesOf,
  devKind,
  finishDev,
  openNullDevice,
} from "./devices.ts";
import { parsePropagation } from "./mount_options.ts";
import { copySharedSources, makeReadOnly, maskPaths, prepareMount, protectPaths, readMounts } from "./mounts.ts";
import type { ContainerPlan } from "./plan.ts";
import { type Image, Label, Load, type Ref } from "./program.ts";
import { attachRootfs, isolatePropagation, mountRootfs } from "./rootfs.ts";
import { addShim, type Outside } from "./shim.ts";
import { addWorkload, closeAllButStreams } from "./workload.ts";

/** Exit status of a first process that failed before execve. The launch error says why; nobody reads this. */
const FAILED_STATUS = 126;
/** -1 as the u64 of a record. */
const HELD = 0xffffffffffffffffn;

/** The whole program of a container: shim, init, and the common end for failures. */
export function containerProgram(arch: Arch, plan: ContainerPlan): Image {
  const calls = new Calls(arch);
  const init = new Label("init");
  const outside = addShim(calls, plan, init);
  calls.mark(init);
  addInit(calls, plan, outside);
  calls.failHere(DESCRIPTOR.report, FAILED_STATUS);
  return calls.toImage();
}

function addInit(calls: Calls, plan: ContainerPlan, { overlay, trees }: Outside): void {
  const { spec, rootfs } = plan.bundle;
  const { namespaces, workload } = plan;
  closeShimsOwn(calls);
  for (const path of plan.cgroup.joinFiles) calls.writeText(path, "0", `join the cgroup ${path}`);
  if (namespaces.isMapped) awaitAdmission(calls);
  enterNamespaces(calls, plan);
  calls.setUmask(0);
  if (!namespaces.isMapped && spec.process.oomScoreAdj !== undefined) {
    // A mapped one may not lower it: there the daemon writes it, before it admits it.
    const value = String(spec.process.oomScoreAdj);
    calls.writeText("/proc/self/oom_score_adj", value, `set oom_score_adj to ${value}`);
  }

  const mounts = readMounts(spec.mounts);
  const shared = namespaces.isMapped ? trees : copySharedSources(calls, mounts);
  isolatePropagation(calls);
  if (overlay) attachRootfs(calls, overlay, rootfs);
  else mountRootfs(calls, rootfs);
  // Still with the host's root's ID, if without its rights: what lies above may be closed to everybody else.
  const target = calls.open(rootfs.target, O.PATH | calls.directory);
  if (namespaces.isMapped) calls.setIDs(0, 0, []);
  const prepared = mounts.map((entry) => prepareMount(calls, plan, entry, shared));
  const devices = devicesOf(plan);
  const dev = devKind(plan);
  const copies = namespaces.isMapped && dev !== "bound" ? copyDeviceNodes(calls, devices) : new Map<string, Ref>();
  // WHY not just any mount at /proc: a bind holds files of the user's, and its links would lead to the host's still.
  const procfs = prepared.find(({ destination, isProcfs }) => destination === "/proc" && isProcfs);
  const apparmor = addKernelSettings(calls, plan, procfs?.tree);

  pivotInto(calls, target, rootfs);
  if (dev === "image") {
    calls.makeDirectories("/dev");
    addDevices(calls, devices, copies, { inside: true });
    addDeviceLinks(calls);
  }
  let nullDevice: Ref | null = null;
  for (const mount of prepared) {
    mount.attach();
    if (mount.destination !== "/dev" || nullDevice) continue;
    if (dev === "own") {
      addDevices(calls, devices, copies, { inside: true });
      addDeviceLinks(calls);
    }
    nullDevice = openNullDevice(calls);
  }
  if (dev !== "bound") addDevices(calls, devices, copies, { inside: false });
  if (workload.hasTerminal && dev !== "bound") addConsole(calls);
  finishDev(calls, plan);
  protectPaths(calls, plan);
  maskPaths(calls, spec.linux.maskedPaths, nullDevice ?? openNullDevice(calls));
  if (plan.isHeld) awaitHooks(calls);
  closeAllButStreams(calls, workload, apparmor);
  // COMPAT: a working directory that is missing is made, and belongs to the user.
  calls.makeDirectories(workload.cwd, { owner: workload.identity });
  if (spec.root.readonly) makeReadOnly(calls, "/", plan.features.mountSetattr, 0);
  const propagation = parsePropagation(spec.linux.rootfsPropagation ?? "");
  if (propagation !== null) calls.setPropagation("/", propagation);
  addWorkload(calls, workload);
}

/**
 * What only the shim needs. INVARIANT: once a path from the image or the user is looked up, no descriptor of a directory
 * outside the container is open here: `/proc/self/fd/<n>/..` would lead to the host.
 */
function closeShimsOwn(calls: Calls): void {
  calls.close(DESCRIPTOR.exit);
  calls.closeRange(DESCRIPTOR.exitFile, DESCRIPTOR.stagingWriter);
  calls.closeRange(DESCRIPTOR.cgroup, DESCRIPTOR.target);
}

/** Everything is in its place, and nothing of the image has run yet: the daemon runs the hooks, then sends one byte. */
function awaitHooks(calls: Calls): void {
  calls.report(DESCRIPTOR.report, calls.words([HELD, 0]), REPORT_BYTES);
  const title = "wait for the hooks";
  calls.step("read", [DESCRIPTOR.hold, calls.slot(), 1], { zero: calls.failure, title });
}

/** In a user namespace: the daemon writes its maps if it is new, and what it may not set itself, then one byte. */
function awaitAdmission(calls: Calls): void {
  const byte = calls.slot();
  const title = "wait to be let into the user namespace";
  calls.step("read", [DESCRIPTOR.go, byte, 1], { zero: calls.failure, title });
}

function enterNamespaces(calls: Calls, plan: ContainerPlan): void {
  const { spec } = plan.bundle;
  const { namespaces } = plan;
  for (const namespace of namespaces.enter) {
    if (namespace.type !== "pid" && namespace.type !== "user") calls.enterNamespace(namespace);
  }
  calls.close(DESCRIPTOR.go);
  calls.closeRange(DESCRIPTOR.namespaces, DESCRIPTOR.hold - 1);
  if (namespaces.createCgroup) calls.step("unshare", [CLONE.NEWCGROUP], { title: "make a cgroup namespace" });
  if ((namespaces.create & CLONE.NEWUTS) === 0) return;
  if (spec.hostname !== "") calls.setHostname(spec.hostname);
  if (spec.domainname !== undefined && spec.domainname !== "") calls.setDomainname(spec.domainname);
}

/**
 * INVARIANT: what pivot_root swaps is the root of the mount namespace. In a daemon that lives in a chroot the process's own
 * root is another, and swapping that would leave the host's tree above the container's, in reach of `..`.
 */
function pivotInto(calls: Calls, target: Ref, rootfs: Rootfs): void {
  calls.enterOwnMounts();
  calls.step("fchdir", [new Load(target)], { title: `chdir ${rootfs.target}` });
  calls.close(target);
  calls.pivotRoot();
}

/**
 * Sysctls, and the file for the AppArmor profile, through the container's own procfs while it is still detached: no path
 * that an image or a mount could redirect. Returns the open AppArmor file, or null.
 */
function addKernelSettings(calls: Calls, plan: ContainerPlan, mounted: Ref | null | undefined): Ref | null {
  const sysctls = Object.entries(plan.bundle.spec.linux.sysctl);
  const { apparmorProfile } = plan.workload;
  if (sysctls.length === 0 && apparmorProfile === "") return null;
  const proc = mounted ?? calls.newFs("proc", MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC);
  for (const [key, value] of sysctls) {
    calls.writeText(`sys/${sysctlPath(key)}`, value, `set the sysctl ${key} to ${value}`, proc);
  }
  return apparmorProfile === "" ? null : openApparmor(calls, proc);
}

/** `net.ipv4.conf.eth0.forwarding` to a path; as sysctl(8), a name with slashes may hold dots. */
export function sysctlPath(key: string): string {
  const firstSeparator = /[./]/.exec(key)?.[0];
  return firstSeparator === "/" ? key : key.replace(/[./]/g, (separator) => (separator === "." ? "/" : "."));
}

/** attr/apparmor/exec, or attr/exec on a kernel where AppArmor is the only module (before 5.8). */
export function openApparmor(calls: Calls, proc: Ref): Ref {
  const file = calls.slot(),
    opened = new Label("AppArmor file is open");
  const title = "open the AppArmor attribute";
  const options = { at: proc, out: file, title };
  calls.open("self/attr/apparmor/exec", O.WRONLY, { ...options, error: 1, zero: opened, positive: opened });
  calls.open("self/attr/exec", O.WRONLY, options);
  calls.mark(opened);
  return file;
}

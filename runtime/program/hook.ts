// The program that becomes a hook. It is born beside the daemon and ends as the hook itself, so its exit status is the hook's.
//
//   runtime     execve, in the daemon's own namespaces
//   container   the container's network, host name, IPC and cgroup namespaces; of mounts a copy of the daemon's tree in which
//               the container's tree lies at its root path: what a hook before pivot_root sees
import type { OciHook } from "../bundle.ts";
import type { Arch } from "../sys/arch.ts";
import { MS } from "../sys/mount.ts";
import { CLONE } from "../sys/namespace.ts";
import { Calls } from "./calls.ts";
import { DESCRIPTOR } from "./descriptors.ts";
import type { Image } from "./program.ts";

const FAILED_STATUS = 126;

export interface HookPlan {
  hook: OciHook;
  /** The container's first process, and where its tree goes; null: in the daemon's namespaces. */
  container: { pid: number; rootPath: string } | null;
}

/** DESCRIPTOR.target is that process by pidfd. */
export function hookProgram(arch: Arch, { hook, container }: HookPlan): Image {
  const calls = new Calls(arch);
  calls.step("setsid", [], { error: 1 });
  if (container) enterContainer(calls, container);
  calls.resetSignals();
  calls.setSignalMask(0n);
  calls.closeOnExecFrom(3);
  const args = hook.args.length > 0 ? hook.args : [hook.path];
  calls.step("execve", [hook.path, calls.strings(args), calls.strings(hook.env)], { title: `exec ${hook.path}` });
  calls.failHere(DESCRIPTOR.report, FAILED_STATUS);
  return calls.toImage();
}

function enterContainer(calls: Calls, { pid, rootPath }: { pid: number; rootPath: string }): void {
  const title = "look at the container's mounts";
  const tree = calls.slot();
  calls.inMountsOf(`/proc/${pid}/ns/mnt`, title, () => calls.cloneTree("/", { recursive: true, title, out: tree }));
  calls.step("unshare", [CLONE.NEWNS], { title: "make a mount namespace" });
  calls.setPropagationOfAll(MS.SLAVE, "make the host's mounts slaves");
  calls.attach(tree, rootPath);
  const namespaces = CLONE.NEWNET | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWCGROUP;
  calls.step("setns", [DESCRIPTOR.target, namespaces], { title: "enter the container's namespaces" });
}

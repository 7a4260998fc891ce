// A root file system as a detached, read-only overlay mount: for looking into a container that is not running. It is on
// no mount table and goes with its descriptor.
import type { Rootfs } from "../bundle.ts";
import { BatchFailure, runBatch } from "../program/batch.ts";
import { Calls } from "../program/calls.ts";
import type { KernelFeatures } from "../program/plan.ts";
import type { Ref } from "../program/program.ts";
import { lowerOptions, openAside, openOverlayAside, viewData } from "../program/rootfs.ts";
import { hostArch } from "../sys/arch.ts";
import { Fd } from "../sys/fd.ts";
import { CLONE } from "../sys/namespace.ts";
import { cloneTree, MOUNT_ATTR, MS, newFileSystem, setReadOnly } from "../sys/mount.ts";

const SIG_SETMASK = 2,
  SIGSET_BYTES = 8;
const ALL_SIGNALS = 0xffffffffffffffffn;

/** Opens paths below it with openInRoot. The upper directory is the topmost *lower* one: nothing can be written. */
export function openRootfsView(rootfs: Rootfs, features: KernelFeatures): Fd {
  if (rootfs.kind === "directory" || rootfs.lower.length === 0) return openTree(rootfs.upper);
  if (!features.lowerdirPlus) return openViewAside(rootfs);
  return newFileSystem("overlay", lowerOptions([rootfs.upper, ...absoluteLower(rootfs)]), MOUNT_ATTR.RDONLY);
}

function openTree(path: string): Fd {
  const tree = cloneTree(path, { recursive: false });
  try {
    setReadOnly(tree);
    return tree;
  } catch (error) {
    tree.close();
    throw error;
  }
}

/**
 * The root of a process's mount namespace as a detached copy of that one mount: what a running container has written,
 * without what is mounted in it. WHY not a view: two overlays over one upper directory are undefined.
 */
export function openRootMount(namespace: Fd): Fd {
  const title = "copy the mount of a container's root";
  return runWithSignalsBlocked((calls) =>
    openAside(calls, title, (tree, failed) => {
      calls.step("setns", [namespace.number, CLONE.NEWNS], { error: failed, title });
      calls.cloneTree("/", { recursive: false, title, out: tree, error: failed });
    }),
  );
}

/** With signals blocked, as openAside wants it. */
function openViewAside(rootfs: Rootfs): Fd {
  return runWithSignalsBlocked((calls) => openOverlayAside(calls, rootfs.layersDir, MS.RDONLY, viewData(rootfs)));
}

/** A batch that leaves a descriptor in the slot that `make` gives. */
export function runWithSignalsBlocked(make: (calls: Calls) => Ref): Fd {
  const calls = new Calls(hostArch());
  const before = calls.slot();
  const all = calls.words([ALL_SIGNALS]);
  calls.step("rt_sigprocmask", [SIG_SETMASK, all, before, SIGSET_BYTES], { title: "rt_sigprocmask" });
  const made = make(calls);
  calls.mark(calls.failure);
  calls.step("rt_sigprocmask", [SIG_SETMASK, before, null, SIGSET_BYTES], { error: 1, title: "rt_sigprocmask" });
  calls.end();
  try {
    return new Fd(runBatch(calls)(made));
  } catch (error) {
    // A step that is allowed to fail has: mkdir of what is there already. What counts is whether the last one was reached.
    const opened = error instanceof BatchFailure ? error.slot(made) : -1;
    if (opened >= 0) return new Fd(opened);
    throw error;
  }
}

/** The layers' directories by their absolute paths, topmost first. */
export function absoluteLower(rootfs: Rootfs): string[] {
  return rootfs.lower.map((lower) => (lower.startsWith("/") ? lower : `${rootfs.layersDir}/${lower}`));
}

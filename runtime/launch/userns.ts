// User namespaces of containers (userns-remap): made before the container, so that its network namespace can belong to one
// and its files be seen through it. No process lives in it until the container does.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import type { OciIDMapping, Rootfs } from "../bundle.ts";
import { LaunchError } from "../errors.ts";
import type { IDMaps } from "../mod.ts";
import type { Calls } from "../program/calls.ts";
import type { KernelFeatures } from "../program/plan.ts";
import { Label, Load, type Ref } from "../program/program.ts";
import { openOverlay } from "../program/rootfs.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath, pipe2 } from "../sys/file.ts";
import { CLONE } from "../sys/namespace.ts";
import { asLaunchError } from "./failure.ts";
import { hostID } from "./namespaces.ts";
import { runWithSignalsBlocked } from "./view.ts";

const STACK_BYTES = 4096;
/** Below the end of the stack, which the kernel wants aligned to 16 bytes. */
const STACK_TOP = STACK_BYTES - 64;
/** wait4(2): for children of every kind. This one sends no signal when it ends. */
const WALL = 0x40000000;

/**
 * The maps of a new user namespace are written from outside while a process is inside: a child that waits for nothing else.
 *
 *   this one ──clone(VM|FILES|NEWUSER)──▶ child   opens /proc/self, where the maps are
 *            ◀──────── one byte ─────────
 *   maps, ns/user ────── one byte ──────▶         exits
 *
 * SAFETY: the child shares our memory, but has a stack of its own in the batch's, which stays until it has ended. It shares
 * our descriptors, so that what it opens is ours; and signals are blocked, so that no handler of ours runs in it.
 */
export function createUserNamespace({ uidMappings, gidMappings }: IDMaps): Fd {
  using pipes = new DisposableStack();
  const pipe = (): { read: Fd; write: Fd } => {
    const made = pipe2();
    return { read: pipes.use(made.read), write: pipes.use(made.write) };
  };
  const ready = pipe(),
    go = pipe();
  return runWithSignalsBlocked((calls) => {
    const [child, directory, byte, made] = [calls.slot(), calls.slot(), calls.slot(), calls.slot()];
    const stack = calls.slot(STACK_BYTES);
    const inside = new Label("inside the user namespace"),
      release = new Label("let the child go"),
      done = new Label("the user namespace is made");
    const flags = CLONE.VM | CLONE.FILES | CLONE.NEWUSER;
    calls.step("clone", [flags, stack.plus(STACK_TOP), 0, 0, 0], {
      out: child,
      zero: inside,
      title: "make a user namespace",
    });
    calls.step("read", [ready.read.number, byte, 1], { error: release, title: "wait for the user namespace" });
    writeMap(calls, directory, "gid_map", gidMappings, release);
    writeMap(calls, directory, "uid_map", uidMappings, release);
    calls.open("ns/user", O.RDONLY, { at: directory, out: made, error: release });
    calls.mark(release);
    calls.step("write", [go.write.number, byte, 1], { error: 1 });
    calls.step("wait4", [new Load(child), null, WALL, null], { error: done, zero: done, positive: done });
    calls.mark(inside);
    calls.open("/proc/self", O.PATH | calls.directory, { out: directory, error: 1 });
    calls.step("write", [ready.write.number, byte, 1], { error: 1 });
    calls.step("read", [go.read.number, calls.slot(), 1], { error: 1 });
    calls.exit(0);
    calls.mark(done);
    calls.close(directory);
    return made;
  });
}

function writeMap(calls: Calls, directory: Ref, name: string, mappings: readonly OciIDMapping[], error: Label): void {
  const text = mapText(mappings);
  const title = `write ${name}`;
  const file = calls.open(name, O.WRONLY, { at: directory, error, title });
  calls.step("write", [new Load(file), text, Buffer.byteLength(text)], { error, title });
  calls.close(file);
}

/** The text of uid_map and gid_map, see user_namespaces(7). */
export function mapText(mappings: readonly OciIDMapping[]): string {
  return mappings.map(({ containerID, hostID: first, size }) => `${containerID} ${first} ${size}\n`).join("");
}

export function userNamespaceOf(pid: number): Fd {
  return openPath(`/proc/${pid}/ns/user`, O.RDONLY);
}

/** Mounts an overlay as a container in a user namespace has it, in a directory that is gone afterwards. */
export function checkMapping(directory: string, maps: IDMaps, features: KernelFeatures): void {
  const place = mkdtempSync(`${directory}/mapping-`);
  try {
    const names = ["layers/a", "layers/b", "own/upper", "own/work", "own/target"];
    for (const name of names) mkdirSync(`${place}/${name}`, { recursive: true });
    const rootfs: Rootfs = {
      kind: "overlay",
      layersDir: `${place}/layers`,
      lower: ["a", "b"],
      upper: `${place}/own/upper`,
      work: `${place}/own/work`,
      target: `${place}/own/target`,
    };
    using userns = createUserNamespace(maps);
    const root = { uid: hostID(0, maps.uidMappings), gid: hostID(0, maps.gidMappings) };
    const owners = { descriptor: userns.number, root };
    runWithSignalsBlocked((calls) => openOverlay(calls, rootfs, features, owners)).close();
  } catch (error) {
    throw error instanceof LaunchError ? error : asLaunchError("map owners", error);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

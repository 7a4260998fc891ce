// The vocabulary of a generated program: one method per use of a call, named for what it does. The tables in shim.ts,
// init.ts and exec.ts read as the setup itself; each method adds the steps and the words a failure is reported with.
import { directoryFlag, noFollowFlag, AT_EMPTY_PATH, AT_FDCWD, O, RESOLVE } from "../sys/file.ts";
import {
  AT_RECURSIVE,
  FSCONFIG,
  FSMOUNT_CLOEXEC,
  type FsOption,
  FSOPEN_CLOEXEC,
  MNT_DETACH,
  MOUNT_ATTR,
  MOUNT_ATTR_BYTES,
  mountAttr,
  type MountAttributes,
  MOVE_MOUNT,
  MS,
  OPEN_TREE_CLONE,
} from "../sys/mount.ts";
import { CLONE } from "../sys/namespace.ts";
import { type Rlimit, rlimit64, SIGNAL } from "../sys/process.ts";
import { type Arg, Label, Load, Program, type Ref, type StepOptions, type Target } from "./program.ts";

/** A descriptor: a fixed number, or the slot that an earlier step has stored it in. */
export type Descriptor = number | Ref;

const SIG_SETMASK = 2,
  SIGSET_BYTES = 8,
  LAST_SIGNAL = 64;
const PR_SET_DUMPABLE = 4,
  PR_SET_KEEPCAPS = 8,
  PR_SET_NAME = 15,
  PR_CAPBSET_DROP = 24,
  PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47,
  PR_CAP_AMBIENT_RAISE = 2,
  PR_CAP_AMBIENT_CLEAR_ALL = 4;
const CAPABILITY_VERSION_3 = 0x20080522;
const SECCOMP_SET_MODE_FILTER = 1;
const CLOSE_RANGE_CLOEXEC = 4;
const S_IFREG = 0o100000,
  S_IFCHR = 0o020000,
  S_IFBLK = 0o060000,
  S_IFIFO = 0o010000;
const AT_SYMLINK_NOFOLLOW = 0x100;
/** capabilities(7): capabilities stay as they are when IDs change. */
const PR_SET_SECUREBITS = 28,
  SECBIT_NO_SETUID_FIXUP = 4;
const F_DUPFD_CLOEXEC = 1030;
const OPEN_HOW_BYTES = 24;
/** openat2 answers EAGAIN where something was renamed or mounted beside a `..` of the path meanwhile. */
const BENEATH_TRIES = 8;

/** Bits 0 to 40 of a capability set. */
export type CapabilityMask = bigint;

export interface CapabilitySets {
  effective: CapabilityMask;
  permitted: CapabilityMask;
  inheritable: CapabilityMask;
}

function argOf(descriptor: Descriptor): Arg {
  return typeof descriptor === "number" ? descriptor : new Load(descriptor);
}

export class Calls extends Program {
  // ---- files

  /** Opens a path into a slot, close-on-exec. */
  open(path: string, flags: number, options: StepOptions & { at?: Descriptor; mode?: number } = {}): Ref {
    const fd = options.out ?? this.slot();
    const { at = AT_FDCWD, mode = 0, ...rest } = options;
    this.step("openat", [argOf(at), path, flags | O.CLOEXEC, mode], { title: `open ${path}`, ...rest, out: fd });
    return fd;
  }

  /** O_PATH of what lies below a directory; neither the path nor a symbolic link in it may lead out (EXDEV). */
  openBeneath(directory: Descriptor, path: string, title: string, error: Target = this.failure): Ref {
    const fd = this.slot();
    // struct open_how {u64 flags, mode, resolve}.
    const how = this.words([O.PATH | O.CLOEXEC, 0, RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS]);
    const opened = new Label(title);
    for (let tries = 1; tries < BENEATH_TRIES; tries++) {
      const args = [argOf(directory), path, how, OPEN_HOW_BYTES];
      this.step("openat2", args, { out: fd, error: 1, zero: opened, positive: opened, title });
    }
    this.step("openat2", [argOf(directory), path, how, OPEN_HOW_BYTES], { out: fd, title, error });
    this.mark(opened);
    return fd;
  }

  /** Gives what a slot holds another number, above all that programs know by number. */
  moveAbove(descriptor: Ref, least: number, title: string): Ref {
    const moved = this.slot();
    this.step("fcntl", [new Load(descriptor), F_DUPFD_CLOEXEC, least], { out: moved, title });
    this.close(descriptor);
    return moved;
  }

  /** The O_DIRECTORY of this program's architecture. */
  get directory(): number {
    return directoryFlag(this.arch);
  }

  get noFollow(): number {
    return noFollowFlag(this.arch);
  }

  close(descriptor: Descriptor): void {
    this.step("close", [argOf(descriptor)], { error: 1, title: "close" });
  }

  /** Writes a short text into a file that exists, as the kernel's own files want it: in one write. */
  writeText(path: string, text: string, title: string, at: Descriptor = AT_FDCWD): void {
    const fd = this.open(path, O.WRONLY, { at, title });
    this.step("write", [argOf(fd), text, Buffer.byteLength(text)], { title });
    this.close(fd);
  }

  /** mkdir -p: each component that is missing, owned by `owner` where one is given. */
  makeDirectories(path: string, options: { mode?: number; owner?: { uid: number; gid: number } } = {}): void {
    const parts = path.split("/").filter((part) => part !== "" && part !== ".");
    for (let count = 1; count <= parts.length; count++) {
      const prefix = `/${parts.slice(0, count).join("/")}`;
      const title = `create the directory ${prefix}`;
      const { owner } = options;
      // What exists already is left alone; what cannot be made shows when it is used.
      this.step("mkdirat", [AT_FDCWD, prefix, options.mode ?? 0o755], { error: owner ? 2 : 1, title });
      if (owner) this.step("fchownat", [AT_FDCWD, prefix, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW], { title });
    }
  }

  /** An empty file, unless something by that name exists. */
  makeFile(path: string): void {
    this.step("mknodat", [AT_FDCWD, path, S_IFREG | 0o644, 0], { error: 1, title: `create the file ${path}` });
  }

  makeDevice(path: string, device: { type: "c" | "b" | "p"; major: number; minor: number; mode: number }): void {
    const type = { c: S_IFCHR, b: S_IFBLK, p: S_IFIFO }[device.type];
    const { major, minor } = device;
    // new_encode_dev: the minor's low byte, then the major, then the rest of the minor.
    const number = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
    const title = `create the device ${path}`;
    this.step("mknodat", [AT_FDCWD, path, type | device.mode, device.type === "p" ? 0 : number >>> 0], { title });
  }

  changeOwner(path: string, uid: number, gid: number): void {
    this.step("fchownat", [AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW], { title: `change the owner of ${path}` });
  }

  makeLink(target: string, path: string): void {
    this.step("symlinkat", [target, AT_FDCWD, path], { error: 1, title: `link ${path}` });
  }

  changeDirectory(path: string, options: StepOptions = {}): void {
    this.step("chdir", [path], { title: `chdir ${path}`, ...options });
  }

  setUmask(mask: number): void {
    this.step("umask", [mask], { title: "umask" });
  }

  // ---- mounts

  /** fsopen to fsmount: a new file system as a detached mount, in a slot. */
  newFs(type: string, attributes: number, options: readonly FsOption[] = [], error?: Target): Ref {
    const context = this.slot(),
      mount = this.slot();
    const title = `mount ${type}`;
    const failing = error === undefined ? {} : { error };
    this.step("fsopen", [type, FSOPEN_CLOEXEC], { out: context, title, ...failing });
    for (const [key, value] of options) {
      const command = value === null ? FSCONFIG.SET_FLAG : FSCONFIG.SET_STRING;
      const words = value === null ? key : `${key}=${value}`;
      this.step("fsconfig", [new Load(context), command, key, value, 0], { title: `${title} (${words})`, ...failing });
    }
    this.step("fsconfig", [new Load(context), FSCONFIG.CREATE, null, null, 0], { title, ...failing });
    this.step("fsmount", [new Load(context), FSMOUNT_CLOEXEC, attributes], { out: mount, title, ...failing });
    this.close(context);
    return mount;
  }

  /** open_tree: a detached copy of what is mounted at `path` or lies below it. */
  cloneTree(path: string, options: { recursive: boolean; title?: string; out?: Ref; error?: Target }): Ref {
    const tree = options.out ?? this.slot();
    const flags = OPEN_TREE_CLONE | O.CLOEXEC | (options.recursive ? AT_RECURSIVE : 0);
    const title = options.title ?? `bind ${path}`;
    const failing = options.error === undefined ? {} : { error: options.error };
    this.step("open_tree", [AT_FDCWD, path, flags], { out: tree, title, ...failing });
    return tree;
  }

  /** The same for an open descriptor: nobody can put another file in its place. */
  cloneTreeOf(
    descriptor: Descriptor,
    title: string,
    options: { recursive?: boolean; out?: Ref; error?: Target } = {},
  ): Ref {
    const { recursive = false, out: tree = this.slot(), error = this.failure } = options;
    const flags = OPEN_TREE_CLONE | O.CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    this.step("open_tree", [argOf(descriptor), "", flags], { out: tree, title, error });
    return tree;
  }

  /** cloneTree of a part of what is mounted at `path`, found without leaving it. */
  cloneBeneath(path: string, subpath: string, options: { recursive: boolean; title: string }): Ref {
    const { title } = options;
    const base = this.open(path, O.PATH | this.directory, { title });
    const part = this.openBeneath(base, subpath, title);
    const tree = this.cloneTreeOf(part, title, options);
    this.close(part);
    this.close(base);
    return tree;
  }

  /** mount_setattr on a detached tree. */
  setAttributes(tree: Descriptor, attributes: MountAttributes, recursive: boolean, title: string): void {
    const flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    this.step("mount_setattr", [argOf(tree), "", flags, mountAttr(attributes), MOUNT_ATTR_BYTES], { title });
  }

  /** Owners in a detached mount are seen through a user namespace: what lies on the disk stays as it is. */
  mapOwners(tree: Descriptor, userns: number, title: string, error: Target = this.failure): void {
    const attributes = mountAttr({ set: MOUNT_ATTR.IDMAP, clear: 0, propagation: 0, usernsFd: userns });
    this.step("mount_setattr", [argOf(tree), "", AT_EMPTY_PATH, attributes, MOUNT_ATTR_BYTES], { title, error });
  }

  /** mount_setattr on what is mounted at a path. */
  setAttributesAt(path: string, attributes: MountAttributes, recursive: boolean, title: string): void {
    const flags = recursive ? AT_RECURSIVE : 0;
    this.step("mount_setattr", [AT_FDCWD, path, flags, mountAttr(attributes), MOUNT_ATTR_BYTES], { title });
  }

  /** Attaches a detached mount. Symbolic links in `path` are followed: after the pivot they resolve inside the container. */
  attach(mount: Descriptor, path: string, title = `mount at ${path}`): void {
    const flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_SYMLINKS;
    this.step("move_mount", [argOf(mount), "", AT_FDCWD, path, flags], { title });
    this.close(mount);
  }

  /** mount(2) of a new file system at a path. */
  mountAt(type: string, path: string, flags: number, data: string | null, title = `mount ${type} at ${path}`): void {
    this.step("mount", [type, path, type, flags, data], { title });
  }

  bindOnto(source: string, path: string, recursive: boolean, title = `bind ${source} at ${path}`): void {
    this.step("mount", [source, path, null, MS.BIND | (recursive ? MS.REC : 0), null], { title });
  }

  /** Changes flags of the mount at `path` (MS_REMOUNT | MS_BIND). For kernels before mount_setattr, 5.12. */
  remountBind(path: string, flags: number, title: string): void {
    this.step("mount", [null, path, null, MS.REMOUNT | MS.BIND | flags, null], { title });
  }

  setPropagation(path: string, flags: number, title = `propagation of ${path}`): void {
    this.step("mount", [null, path, null, flags, null], { title });
  }

  /**
   * Sets the propagation of every mount of this namespace. WHY not just that of "/": in a daemon that lives in a chroot this
   * is no mount, and what lies outside would stay shared. Entering the own namespace again leads to its real root.
   */
  setPropagationOfAll(flags: number, title: string, error: Target = this.failure): void {
    const root = this.open("/", O.PATH | this.directory, { error });
    this.enterOwnMounts(error);
    this.step("mount", [null, "/", null, flags | MS.REC, null], { title, error });
    this.step("fchdir", [new Load(root)], { title: "return to the daemon's root", error });
    this.step("chroot", ["."], { title: "return to the daemon's root", error });
    this.close(root);
  }

  /** Root and current directory become those of this mount namespace, whatever chroot the daemon lives in. */
  enterOwnMounts(error: Target = this.failure): void {
    const title = "enter the root of the mount namespace";
    const namespace = this.open("/proc/self/ns/mnt", O.RDONLY, { title, error });
    this.step("setns", [new Load(namespace), CLONE.NEWNS], { title, error });
    this.close(namespace);
  }

  /** Steps inside another mount namespace. Comes back to the mounts and the root of before; the directory is the root. */
  inMountsOf(namespace: string, title: string, steps: () => void): void {
    const root = this.open("/", O.PATH | this.directory),
      home = this.open("/proc/self/ns/mnt", O.RDONLY),
      away = this.open(namespace, O.RDONLY, { title });
    const back = "return from another container's mounts";
    this.step("setns", [new Load(away), CLONE.NEWNS], { title });
    steps();
    this.step("setns", [new Load(home), CLONE.NEWNS], { title: back });
    this.step("fchdir", [new Load(root)], { title: back });
    this.step("chroot", ["."], { title: back });
    for (const descriptor of [root, home, away]) this.close(descriptor);
  }

  /** Makes the current directory the root, and drops the old root with everything mounted below it. */
  pivotRoot(): void {
    // The new root goes on top of the old one at ".", so no directory is needed to keep the old one in.
    this.step("pivot_root", [".", "."], { title: "pivot_root" });
    this.step("umount2", [".", MNT_DETACH], { title: "unmount the host's root" });
    this.changeDirectory("/");
  }

  // ---- namespaces

  enterNamespace({ type, flag, descriptor }: { type: string; flag: number; descriptor: number }): void {
    this.step("setns", [descriptor, flag], { title: `enter the ${type} namespace` });
  }

  setHostname(name: string): void {
    this.step("sethostname", [name, Buffer.byteLength(name)], { title: `set the host name to ${name}` });
  }

  setDomainname(name: string): void {
    this.step("setdomainname", [name, Buffer.byteLength(name)], { title: `set the domain name to ${name}` });
  }

  // ---- identity

  /**
   * PR_SET_DUMPABLE 0: processes of the container can neither trace this one nor reach its descriptors. A clone inherits
   * it, and execve takes it back.
   */
  forbidTracing(): void {
    this.step("prctl", [PR_SET_DUMPABLE, 0, 0, 0, 0], { title: "PR_SET_DUMPABLE" });
  }

  setName(name: string): void {
    this.step("prctl", [PR_SET_NAME, name, 0, 0, 0], { error: 1, title: "PR_SET_NAME" });
  }

  keepCapabilities(): void {
    this.step("prctl", [PR_SET_KEEPCAPS, 1, 0, 0, 0], { title: "PR_SET_KEEPCAPS" });
  }

  /** Drops every capability that is not in `keep` from the bounding set. */
  limitBounding(keep: CapabilityMask, lastCapability: number): void {
    for (let number = 0; number <= lastCapability; number++) {
      if (((keep >> BigInt(number)) & 1n) === 1n) continue;
      this.step("prctl", [PR_CAPBSET_DROP, number, 0, 0, 0], { title: `drop capability ${number}` });
    }
  }

  setCapabilities(sets: CapabilitySets): void {
    const header = new Uint8Array(8);
    new DataView(header.buffer).setUint32(0, CAPABILITY_VERSION_3, true);
    const data = new Uint8Array(24);
    const view = new DataView(data.buffer);
    [sets.effective, sets.permitted, sets.inheritable].forEach((mask, index) => {
      view.setUint32(index * 4, Number(mask & 0xffffffffn), true);
      view.setUint32(12 + index * 4, Number(mask >> 32n), true);
    });
    this.step("capset", [header, data], { title: "capset" });
  }

  raiseAmbient(mask: CapabilityMask, lastCapability: number): void {
    this.step("prctl", [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0], { title: "clear ambient capabilities" });
    for (let number = 0; number <= lastCapability; number++) {
      if (((mask >> BigInt(number)) & 1n) === 0n) continue;
      const title = `raise ambient capability ${number}`;
      this.step("prctl", [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0], { title });
    }
  }

  setIDs(uid: number, gid: number, groups: readonly number[]): void {
    const list = groups.length === 0 ? null : new Uint8Array(Uint32Array.from(groups).buffer);
    this.step("setgroups", [groups.length, list], { title: "setgroups" });
    this.step("setresgid", [gid, gid, gid], { title: `setgid ${gid}` });
    this.step("setresuid", [uid, uid, uid], { title: `setuid ${uid}` });
  }

  /** What is made from here on belongs to these IDs; those of before go into `before`. All rights stay: see setfsuid(2) for what it would take away. */
  setFileIDs(
    { uid, gid }: { uid: number; gid: number },
    before: { uid?: Ref; gid?: Ref } = {},
    error: Target = this.failure,
  ): void {
    const title = "take the owner's IDs";
    this.step("prctl", [PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0], { title: "PR_SET_SECUREBITS", error });
    // They answer with the ID of before, which is no error and may be 0.
    this.step("setfsgid", [gid], { title, error, ...(before.gid ? { out: before.gid } : {}) });
    this.step("setfsuid", [uid], { title, error, ...(before.uid ? { out: before.uid } : {}) });
  }

  noNewPrivileges(): void {
    this.step("prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0], { title: "PR_SET_NO_NEW_PRIVS" });
  }

  /** Loads a compiled filter. What follows must be allowed by it. */
  seccomp(filter: Uint8Array, flags: number): void {
    const program = this.words([filter.length / 8, this.data(filter)]); // struct sock_fprog
    this.step("seccomp", [SECCOMP_SET_MODE_FILTER, flags, program], { title: "load the seccomp filter" });
  }

  setRlimit(name: string, resource: number, limit: Rlimit): void {
    const title = `set ${name} to ${limit.soft}:${limit.hard}`;
    this.step("prlimit64", [0, resource, rlimit64(limit), null], { title });
  }

  // ---- signals and descriptors

  setSignalMask(mask: bigint): void {
    this.step("rt_sigprocmask", [SIG_SETMASK, this.words([mask]), null, SIGSET_BYTES], { title: "rt_sigprocmask" });
  }

  /** Default action for every signal: the daemon's ignored ones must not reach the workload. */
  resetSignals(): void {
    const action = this.words([0, 0, 0, 0]);
    for (let signal = 1; signal <= LAST_SIGNAL; signal++) {
      if (signal === SIGNAL.KILL || signal === SIGNAL.STOP) continue;
      this.step("rt_sigaction", [signal, action, null, SIGSET_BYTES], { title: `default action of signal ${signal}` });
    }
  }

  closeOnExecFrom(first: number): void {
    this.step("close_range", [first, 0xffffffff, CLOSE_RANGE_CLOEXEC], { title: "close_range" });
  }

  /** Both ends included. What is not open is passed over. */
  closeRange(first: number, last = 0xffffffff): void {
    this.step("close_range", [first, last, 0], { title: "close_range" });
  }

  /** Sends the record of the last error (or `record`) to a pipe. */
  report(descriptor: number, record: Ref = this.context, sizeBytes = 16): void {
    this.step("write", [descriptor, record, sizeBytes], { error: 1, title: "report" });
  }

  exit(status: number): void {
    this.step("exit_group", [status], { error: 0, title: "exit" });
  }

  /** The end of every program: report the step that failed, and go. */
  failHere(descriptor: number, status: number): void {
    this.mark(this.failure);
    this.report(descriptor);
    this.exit(status);
  }
}

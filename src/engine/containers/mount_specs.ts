// What users write about mounts, to plain plans: `-v` strings (Binds), `--mount` objects (Mounts), `--tmpfs`, VOLUME of the
// image and `--volumes-from`. Pure: nothing is looked up or made here; mounts.ts carries the plans out.
//
//   Binds   [source:]destination[:mode]    source: an absolute host path, or a volume's name
//   mode    ro|rw, z|Z, nocopy, [r]private|[r]shared|[r]slave, consistent|cached|delegated; at most one of each
import { posix } from "node:path";
import { EngineError, invalid } from "../../errors.ts";
import type { Mount } from "../../schema/host_config.ts";
import type { VolumeCreate } from "../../schema/volume.ts";
import { checkVolumeName } from "../volumes/local.ts";
import type { MountPoint } from "./container.ts";

/** One mount that is wanted. `mount.source` and, for an anonymous volume, `mount.name` are still empty. */
export type MountPlan =
  | { kind: "bind"; mount: MountPoint; path: string; isMade: boolean }
  | { kind: "volume"; mount: MountPoint; volume: VolumeCreate }
  | { kind: "image"; mount: MountPoint; image: string }
  | { kind: "tmpfs"; mount: MountPoint };

/** What a bind's or volume's `options` may hold; for a tmpfs they are the mount options themselves. */
export const MOUNT_OPTION = {
  /** Bind without the mounts below the source. */
  nonRecursive: "nonrecursive",
  /** Read-only at its top alone. */
  readOnlyTopOnly: "ro-nonrecursive",
  /** Read-only all the way down, or not at all. */
  readOnlyForced: "ro-forcerecursive",
  /** Nothing is copied up into the volume. */
  noCopy: "nocopy",
} as const;

// ---- -v

/** One entry of `HostConfig.Binds`. */
export function parseBind(raw: string, volumeDriver: string): MountPlan {
  const parts = raw.split(":");
  const [first = "", second, third] = parts;
  // `/data:ro` would be a volume with a mode and no place to be.
  if (parts.length > 3 || first === "" || (parts.length === 2 && isMode(second ?? ""))) throw invalidSpec(raw);
  const mode = third ?? "";
  if (!isMode(mode)) throw invalidMode(mode);
  try {
    return second === undefined ? planBind("", first, mode, volumeDriver) : planBind(first, second, mode, volumeDriver);
  } catch (error) {
    if (error instanceof EngineError && error.kind === "invalid")
      throw invalid(`${specText(raw)}: ${error.message}`, { cause: error });
    throw error;
  }
}

function planBind(source: string, target: string, mode: string, volumeDriver: string): MountPlan {
  const words = modeWords(mode);
  const propagation = words.find((word) => PROPAGATION.has(word)) ?? "";
  const isWritable = !words.includes("ro");
  const type = source.startsWith("/") ? "bind" : "volume";
  checkTarget(type, target);
  if (type === "bind") {
    if (words.includes("nocopy")) throw invalidMount(type, "field VolumeOptions must not be specified");
    const mount = mountPoint({ type, destination: target, mode, isWritable, propagation: propagation || "rprivate" });
    return { kind: "bind", mount, path: clean(source), isMade: true };
  }
  if (propagation !== "") throw invalidMount(type, "field BindOptions must not be specified");
  if (source === "" && !isWritable) {
    throw invalidMount(type, "must not set ReadOnly mode when using anonymous volumes");
  }
  const options = words.includes("nocopy") ? [MOUNT_OPTION.noCopy] : [];
  return planVolume(
    { Name: source, Driver: volumeDriver, DriverOpts: {}, Labels: {} },
    { destination: target, mode, isWritable, options },
  );
}

function planVolume(
  volume: VolumeCreate,
  given: { destination: string; mode: string; isWritable: boolean; options: string[]; subpath?: string },
): MountPlan {
  if (volume.Name !== "") checkVolumeName(volume.Name);
  // COMPAT: inspect shows `z` for a local volume that was given no mode.
  const mode = given.mode === "" ? "z" : given.mode;
  const isAnonymous = volume.Name === "";
  return {
    kind: "volume",
    mount: mountPoint({ ...given, type: "volume", name: volume.Name, mode, isAnonymous }),
    volume,
  };
}

const PROPAGATION = new Set(["private", "rprivate", "shared", "rshared", "slave", "rslave"]);
const MODE_CLASSES: readonly ReadonlySet<string>[] = [
  new Set(["ro", "rw"]),
  new Set(["z", "Z"]),
  new Set(["nocopy"]),
  PROPAGATION,
  new Set(["consistent", "cached", "delegated"]),
];

function modeWords(mode: string): string[] {
  return mode === "" ? [] : mode.split(",");
}

function isMode(mode: string): boolean {
  const used = modeWords(mode).map((word) => MODE_CLASSES.findIndex((words) => words.has(word)));
  return !used.includes(-1) && new Set(used).size === used.length;
}

// ---- --mount

/** One entry of `HostConfig.Mounts`. */
export function parseMount(mount: Mount): MountPlan {
  const type = mount.Type;
  if (mount.Target === "") throw invalidMount(type, "field Target must not be empty");
  checkTarget(type, mount.Target);
  switch (type) {
    case "bind":
      return parseBindMount(mount);
    case "volume":
      return parseVolumeMount(mount);
    case "tmpfs":
      return parseTmpfsMount(mount);
    case "image":
      return parseImageMount(mount);
    default:
      throw invalidMount(type, "mount type unknown");
  }
}

function parseBindMount(mount: Mount): MountPlan {
  if (mount.Source === "") throw invalidMount("bind", "field Source must not be empty");
  refuseOptions(mount, ["VolumeOptions", "ImageOptions", "TmpfsOptions"]);
  if (!mount.Source.startsWith("/")) throw invalidMount("bind", notAbsolute(mount.Source));
  const given = mount.BindOptions;
  const propagation = given?.Propagation || "rprivate";
  if (!PROPAGATION.has(propagation)) throw invalidMount("bind", `invalid propagation mode: ${propagation}`);
  const options: string[] = [];
  if (given?.NonRecursive) options.push(MOUNT_OPTION.nonRecursive);
  if (given?.ReadOnlyNonRecursive) options.push(MOUNT_OPTION.readOnlyTopOnly);
  if (given?.ReadOnlyForceRecursive) options.push(MOUNT_OPTION.readOnlyForced);
  if (given?.ReadOnlyNonRecursive && !mount.ReadOnly) {
    throw invalid("mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive");
  }
  if (given?.ReadOnlyForceRecursive && !mount.ReadOnly) {
    throw invalid("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive");
  }
  if (given?.ReadOnlyNonRecursive && given.ReadOnlyForceRecursive) {
    throw invalid("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive");
  }
  const { Target: destination, ReadOnly } = mount;
  return {
    kind: "bind",
    mount: mountPoint({ type: "bind", destination, isWritable: !ReadOnly, propagation, options }),
    path: clean(mount.Source),
    isMade: given?.CreateMountpoint ?? false,
  };
}

function parseVolumeMount(mount: Mount): MountPlan {
  refuseOptions(mount, ["BindOptions", "ImageOptions", "TmpfsOptions"]);
  const { Source: name, Target: destination, VolumeOptions: given } = mount;
  if (name === "" && mount.ReadOnly) {
    throw invalidMount("volume", "must not set ReadOnly mode when using anonymous volumes");
  }
  if (given?.Subpath) {
    if (name === "") throw invalidMount("volume", "must not set Subpath when using anonymous volumes");
    if (!isLocal(given.Subpath)) throw invalidMount("volume", "subpath must be a relative path within the volume");
  }
  const volume: VolumeCreate = {
    Name: name,
    Driver: given?.DriverConfig?.Name ?? "",
    DriverOpts: given?.DriverConfig?.Options ?? {},
    Labels: given?.Labels ?? {},
  };
  const options = given?.NoCopy ? [MOUNT_OPTION.noCopy] : [];
  const subpath = cleanSubpath(given?.Subpath ?? "");
  return planVolume(volume, { destination, mode: "", isWritable: !mount.ReadOnly, options, subpath });
}

/** COMPAT: an image is always mounted read-only here; nobody could keep what is written there. */
function parseImageMount(mount: Mount): MountPlan {
  refuseOptions(mount, ["BindOptions", "VolumeOptions", "TmpfsOptions"]);
  const { Source: image, Target: destination } = mount;
  if (image === "") throw invalidMount("image", "field Source must not be empty");
  const given = mount.ImageOptions?.Subpath ?? "";
  if (!isLocal(given)) throw invalidMount("image", "subpath must be a relative path within the image");
  const subpath = cleanSubpath(given);
  return { kind: "image", mount: mountPoint({ type: "image", destination, isWritable: false, subpath }), image };
}

/** `.` is the whole of it. */
function cleanSubpath(path: string): string {
  const normal = path === "" ? "" : clean(path);
  return normal === "." ? "" : normal;
}

function parseTmpfsMount(mount: Mount): MountPlan {
  refuseOptions(mount, ["BindOptions", "VolumeOptions", "ImageOptions"]);
  if (mount.Source !== "") throw invalidMount("tmpfs", "field Source must not be specified");
  const given = mount.TmpfsOptions;
  const options: string[] = mount.ReadOnly ? ["ro"] : [];
  if (given?.Mode) options.push(`mode=${given.Mode.toString(8)}`);
  if (given?.SizeBytes) options.push(`size=${given.SizeBytes}`);
  for (const option of given?.Options ?? []) {
    if (option.length < 1 || option.length > 2) throw invalidMount("tmpfs", "invalid option array length");
    if (option[0] !== "exec" && option[0] !== "noexec") throw invalidMount("tmpfs", `invalid option: ${option[0]}`);
    options.push(option.join("="));
  }
  const { Target: destination, ReadOnly } = mount;
  const merged = mergeTmpfsOptions(options);
  return { kind: "tmpfs", mount: mountPoint({ type: "tmpfs", destination, isWritable: !ReadOnly, options: merged }) };
}

type OptionsField = "BindOptions" | "VolumeOptions" | "ImageOptions" | "TmpfsOptions";

function refuseOptions(mount: Mount, fields: readonly OptionsField[]): void {
  for (const field of fields) {
    if (mount[field] !== null) throw invalidMount(mount.Type, `field ${field} must not be specified`);
  }
}

// ---- --tmpfs

/** One entry of `HostConfig.Tmpfs`. */
export function parseTmpfs(destination: string, given: string): MountPlan {
  checkTarget("tmpfs", destination);
  const options = mergeTmpfsOptions(given === "" ? [] : given.split(","));
  return {
    kind: "tmpfs",
    mount: mountPoint({ type: "tmpfs", destination, isWritable: !options.includes("ro"), options }),
  };
}

const TMPFS_DEFAULTS = ["noexec", "nosuid", "nodev"] as const;
const TMPFS_KEYS = new Set(["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"]);
/** Flags that turn the same thing on and off; the later one wins. */
const TMPFS_FLAGS: readonly (readonly string[])[] = [
  ["ro", "rw"],
  ["suid", "nosuid"],
  ["dev", "nodev"],
  ["exec", "noexec"],
  ["sync", "async"],
  ["dirsync"],
  ["atime", "noatime"],
  ["diratime", "nodiratime"],
  ["relatime", "norelatime"],
  ["strictatime", "nostrictatime"],
  ["defaults"],
  [...PROPAGATION, "unbindable", "runbindable"],
];

/** The defaults, then what was given, each thing said once: `noexec,exec` is `exec`. */
function mergeTmpfsOptions(given: readonly string[]): string[] {
  const merged = new Map<string, string>();
  for (const option of [...TMPFS_DEFAULTS, ...given]) {
    const [key = "", value] = option.split(/=(.*)/s, 2);
    const flags = TMPFS_FLAGS.find((words) => words.includes(option));
    if (flags === undefined && (value === undefined || !TMPFS_KEYS.has(key))) {
      const shown = value === undefined ? JSON.stringify(key) : `${JSON.stringify(key)} ${JSON.stringify(value)}`;
      throw invalid(`invalid tmpfs option [${shown}]`);
    }
    const subject = flags?.[0] ?? key;
    merged.delete(subject);
    merged.set(subject, option);
  }
  merged.delete("defaults");
  return [...merged.values()];
}

// ---- VOLUME and --volumes-from

/** One key of `Config.Volumes`: the client's own and the image's. */
export function parseVolumePath(path: string): MountPlan {
  if (!path.startsWith("/")) throw invalid(notAbsolute(path));
  if (clean(path) === "/") throw invalid(NOT_ROOT);
  const volume: VolumeCreate = { Name: "", Driver: "", DriverOpts: {}, Labels: {} };
  return { kind: "volume", mount: mountPoint({ type: "volume", destination: path, isAnonymous: true }), volume };
}

/** One entry of `HostConfig.VolumesFrom`: `container[:ro|rw]`. */
export function parseVolumesFrom(spec: string): { container: string; isWritable: boolean } {
  if (spec === "") throw invalid("volumes-from specification cannot be an empty string");
  const [container = "", mode = "rw"] = spec.split(/:(.*)/s, 2);
  const words = modeWords(mode);
  if (!isMode(mode) || words.some((word) => PROPAGATION.has(word) || word === "nocopy")) throw invalidMode(mode);
  return { container, isWritable: !words.includes("ro") };
}

// ---- shared

function mountPoint(given: Pick<MountPoint, "type" | "destination"> & Partial<MountPoint>): MountPoint {
  return {
    name: "",
    source: "",
    driver: given.type === "volume" ? "local" : "",
    mode: "",
    isWritable: true,
    propagation: "",
    isAnonymous: false,
    options: [],
    subpath: "",
    ...given,
    destination: clean(given.destination),
  };
}

const NOT_ROOT = "invalid specification: destination can't be '/'";

function checkTarget(type: string, target: string): void {
  if (target === "") throw invalidMount(type, "field Target must not be empty");
  if (clean(target) === "/") throw invalidMount(type, NOT_ROOT);
  if (!target.startsWith("/")) throw invalidMount(type, notAbsolute(target));
}

/** A path without `.`, `..`, doubled or trailing slashes. */
function clean(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith("/") ? normal.slice(0, -1) : normal;
}

function isLocal(path: string): boolean {
  const normal = clean(path);
  return !normal.startsWith("/") && normal !== ".." && !normal.startsWith("../");
}

// COMPAT: the texts below are Docker's; compose and people's scripts search for them.
function notAbsolute(path: string): string {
  return `invalid mount path: '${path}' mount path must be absolute`;
}

export function invalidMount(type: string, problem: string): EngineError {
  return invalid(`invalid mount config for type ${JSON.stringify(type)}: ${problem}`);
}

function specText(raw: string): string {
  return `invalid volume specification: '${raw}'`;
}

function invalidSpec(raw: string): EngineError {
  return invalid(specText(raw));
}

function invalidMode(mode: string): EngineError {
  return invalid(`invalid mode: ${mode}`);
}

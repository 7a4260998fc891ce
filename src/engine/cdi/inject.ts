// CDI's edits into a container's bundle. Device nodes that a specification only names are looked up on the host.
import { statSync } from "node:fs";
import type { Bundle, HookKind, OciDevice, OciDeviceRule, OciHook, OciMount } from "../../../runtime/mod.ts";
import { internal } from "../../errors.ts";
import type { ContainerEdits } from "../../schema/cdi.ts";
import { envKey } from "../containers/defaults.ts";
import { toHookKind } from "./requests.ts";
import { splitNumber } from "../containers/devices.ts";

type Node = ContainerEdits["deviceNodes"][number];

/** The bundle with the edits in it. `owner`: whose the nodes are that have no owner of their own. */
export function inject(bundle: Bundle, edits: ContainerEdits | null, owner: { uid: number; gid: number }): Bundle {
  if (edits === null) return bundle;
  const { spec } = bundle;
  const { process: workload, linux } = spec;
  const nodes = edits.deviceNodes.map((node) => ({ node, device: toDevice(node, owner) }));
  const rules = nodes.flatMap(({ node, device }) => toRule(node, device));
  const devices = new Map([...linux.devices, ...nodes.map(({ device }) => device)].map((each) => [each.path, each]));
  return {
    ...bundle,
    spec: {
      ...spec,
      ...(edits.hooks.length > 0 ? { hooks: toHooks(edits.hooks) } : {}),
      process: {
        ...workload,
        env: withEnv(workload.env, edits.env),
        user: { ...workload.user, additionalGids: [...workload.user.additionalGids, ...edits.additionalGids] },
      },
      mounts: withMounts(spec.mounts, edits.mounts.map(toMount)),
      linux: {
        ...linux,
        devices: [...devices.values()],
        resources: { ...linux.resources, devices: [...linux.resources.devices, ...rules] },
      },
    },
  };
}

function toHooks(hooks: ContainerEdits["hooks"]): NonNullable<Bundle["spec"]["hooks"]> {
  const byKind: Partial<Record<HookKind, OciHook[]>> = {};
  for (const { hookName, path, args, env, timeout } of hooks) {
    const kind = toHookKind(hookName);
    if (kind) (byKind[kind] ??= []).push({ path, args, env, ...(timeout === undefined ? {} : { timeout }) });
  }
  return byKind;
}

function toDevice(
  { path, hostPath, type, major, minor, fileMode, uid, gid }: Node,
  owner: { uid: number; gid: number },
): OciDevice {
  const own = { path, uid: uid ?? owner.uid, gid: gid ?? owner.gid };
  if (type === "p") return { ...own, type, major: 0, minor: 0, fileMode: fileMode ?? 0o666 };
  if (type !== "" && major !== undefined && minor !== undefined && hostPath === "") {
    return { ...own, type: type === "b" ? "b" : "c", major, minor, fileMode: fileMode ?? 0o666 };
  }
  const found = statDevice(hostPath || path);
  if (type !== "" && (type === "b") !== found.isBlockDevice()) {
    throw failed(
      `CDI device (${path}, ${hostPath || path}), host type mismatch (${type}, ${found.isBlockDevice() ? "b" : "c"})`,
    );
  }
  const numbers = splitNumber(found.rdev);
  return {
    ...own,
    type: found.isBlockDevice() ? "b" : "c",
    major: major || numbers.major,
    minor: minor ?? numbers.minor,
    fileMode: fileMode ?? found.mode & 0o777,
  };
}

function statDevice(path: string) {
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status) throw failed(`failed to stat CDI host device "${path}": no such file or directory`);
  if (!status.isCharacterDevice() && !status.isBlockDevice()) throw failed(`"${path}" is not a device node`);
  return status;
}

/** None for a pipe, nor where the specification says `none`. */
function toRule({ permissions }: Node, { type, major, minor }: OciDevice): OciDeviceRule[] {
  if (type === "p" || permissions === "none") return [];
  return [{ allow: true, type, major, minor, access: permissions || "rwm" }];
}

function toMount({ hostPath, containerPath, type, options }: ContainerEdits["mounts"][number]): OciMount {
  const isBind = type === "" || type === "bind" || options.some((option) => option === "bind" || option === "rbind");
  if (!isBind) return { destination: containerPath, type, source: hostPath, options };
  const asked = options.filter((option) => option !== "bind" && option !== "rbind");
  const bind = options.includes("bind") ? "bind" : "rbind";
  return { destination: containerPath, type: "bind", source: hostPath, options: [bind, ...asked] };
}

/** A device's mount takes the place of another at the same path; parents come before what lies below them. */
function withMounts(mounts: readonly OciMount[], added: readonly OciMount[]): OciMount[] {
  if (added.length === 0) return [...mounts];
  const taken = new Set(added.map(({ destination }) => destination));
  const depth = ({ destination }: OciMount): number => destination.split("/").filter((part) => part !== "").length;
  const kept = mounts.filter(({ destination }) => !taken.has(destination));
  return [...kept, ...new Map(added.map((mount) => [mount.destination, mount])).values()].sort(
    (a, b) => depth(a) - depth(b),
  );
}

/** A device's variable takes the place of the container's. */
function withEnv(env: readonly string[], added: readonly string[]): string[] {
  const keys = new Set(added.map(envKey));
  return [
    ...env.filter((entry) => !keys.has(envKey(entry))),
    ...new Map(added.map((entry) => [envKey(entry), entry])).values(),
  ];
}

function failed(why: string): Error {
  return internal(`CDI device injection failed: failed to inject devices: ${why}`);
}

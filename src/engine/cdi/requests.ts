// Device requests to what they bring into a container: which CDI devices are meant, and all their edits as one.
import { HOOK_KINDS, type HookKind } from "../../../runtime/mod.ts";
import { internal, invalid } from "../../errors.ts";
import type { ContainerEdits } from "../../schema/cdi.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import type { CdiDevice, CdiRegistry } from "./registry.ts";

type DeviceRequest = HostConfig["DeviceRequests"][number];

/** COMPAT: what Docker's driver for graphics cards answers to. */
const GPU_CAPABILITIES: ReadonlySet<string> = new Set([
  "gpu",
  "nvidia",
  "amd",
  "compute",
  "compat32",
  "graphics",
  "utility",
  "video",
  "display",
]);
const GPU_KINDS = ["nvidia.com/gpu", "amd.com/gpu"] as const;

/** null: nothing was asked for. Throws Docker's words for what cannot be had. */
export function editsFor(
  requests: readonly DeviceRequest[],
  registry: CdiRegistry,
  directories: readonly string[],
): ContainerEdits | null {
  if (requests.length === 0) return null;
  const { devices } = registry.discover(directories);
  const names = requests.flatMap((request) => namesOf(request, devices, directories.length > 0));
  const unresolved = names.filter((name) => !devices.has(name));
  if (unresolved.length > 0) throw failed(`unresolvable CDI devices ${unresolved.join(", ")}`);
  return together(names.flatMap((name) => devices.get(name) ?? []));
}

function namesOf(request: DeviceRequest, devices: ReadonlyMap<string, CdiDevice>, hasCDI: boolean): string[] {
  if (request.Driver === "cdi") {
    if (!hasCDI) throw failed("no CDI specification directories specified");
    if (request.Count !== 0) throw invalid("unexpected count in CDI device request");
    if (Object.keys(request.Options).length > 0) throw invalid("unexpected options in CDI device request");
    return request.DeviceIDs;
  }
  const kind = gpuKind(request, devices);
  if (kind === undefined) {
    const sets = request.Capabilities.map((all) => `[${all.join(" ")}]`).join(" ");
    throw internal(`could not select device driver ${JSON.stringify(request.Driver)} with capabilities: [${sets}]`);
  }
  const { Count, DeviceIDs } = request;
  if (Count !== 0 && DeviceIDs.length > 0) throw invalid("cannot set both Count and DeviceIDs on device request");
  const wanted =
    Count < 0 ? ["all"] : Count > 0 ? Array.from({ length: Count }, (_, index) => String(index)) : DeviceIDs;
  return wanted.map((id) => (id.includes("=") ? id : `${kind}=${id}`));
}

/** The kind of card that is meant and that this machine has a specification of; one set of capabilities has to fit. */
function gpuKind(
  { Driver, Capabilities }: DeviceRequest,
  devices: ReadonlyMap<string, CdiDevice>,
): (typeof GPU_KINDS)[number] | undefined {
  const fits = Capabilities.some((all) => all.length > 0 && all.every((name) => GPU_CAPABILITIES.has(name)));
  if (!fits) return undefined;
  const meant = (kind: string): boolean =>
    (Driver === "" || kind.startsWith(`${Driver}.`)) &&
    GPU_KINDS.every((other) => other === kind || !Capabilities.some((all) => all.includes(other.split(".")[0] ?? "")));
  return GPU_KINDS.find((kind) => meant(kind) && [...devices.keys()].some((name) => name.startsWith(`${kind}=`)));
}

/** The edits of each specification once, before those of its first device. */
function together(devices: readonly CdiDevice[]): ContainerEdits {
  const specs = new Set<CdiDevice["spec"]>();
  const all: ContainerEdits[] = [];
  for (const { spec, edits } of new Set(devices)) {
    if (!specs.has(spec)) all.push(spec.edits);
    specs.add(spec);
    all.push(edits);
  }
  refuseUnsupported(all);
  return {
    env: all.flatMap(({ env }) => env),
    deviceNodes: all.flatMap(({ deviceNodes }) => deviceNodes),
    netDevices: [],
    mounts: all.flatMap(({ mounts }) => mounts),
    hooks: all.flatMap(({ hooks }) => hooks),
    // COMPAT: CDI's libraries pass over the group 0.
    additionalGids: [...new Set(all.flatMap(({ additionalGids }) => additionalGids))].filter((gid) => gid !== 0),
    intelRdt: null,
  };
}

function refuseUnsupported(all: readonly ContainerEdits[]): void {
  const odd = all.flatMap(({ hooks }) => hooks).find(({ hookName }) => toHookKind(hookName) === null);
  if (odd) throw failed(`${odd.hookName} hooks are not supported`);
  if (all.some(({ intelRdt }) => intelRdt)) throw failed("intelRdt is not supported");
  if (all.some(({ netDevices }) => netDevices.length > 0)) throw failed("netDevices are not supported");
}

/** null: one that launch does not run: in the container (startContainer), or after its end (poststop). */
export function toHookKind(name: string): HookKind | null {
  return HOOK_KINDS.find((kind) => kind === name) ?? null;
}

function failed(why: string): Error {
  return internal(`CDI device injection failed: ${why}`);
}

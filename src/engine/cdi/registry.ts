// The devices that CDI specifications describe: files named *.json and *.yaml in the configured directories, read when
// somebody asks. A later directory wins over an earlier one; of two devices of one name in the same directory neither is
// taken. A file that has not changed is not parsed again.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { parse as parseYAML } from "yaml";
import { CDI_SPEC_BYTES, CDI_SPECS } from "../../limits.ts";
import { CdiSpec, type ContainerEdits } from "../../schema/cdi.ts";

export interface CdiDevice {
  /** `vendor.com/class=name`. */
  name: string;
  edits: ContainerEdits;
  /** Whose own edits come first, once for all devices of it. */
  spec: { path: string; edits: ContainerEdits };
}

interface Discovered {
  devices: ReadonlyMap<string, CdiDevice>;
  /** What is wrong with which file. */
  problems: { path: string; message: string }[];
}

export interface CdiRegistry {
  discover(directories: readonly string[]): Discovered;
}

interface Loaded {
  /** Tells a file that has changed from one that has not. */
  stamp: string;
  devices: CdiDevice[];
  problem: string | null;
}

export function createCdiRegistry(): CdiRegistry {
  let loaded = new Map<string, Loaded>();
  return {
    discover(directories) {
      const kept = new Map<string, Loaded>();
      const problems: Discovered["problems"] = [];
      const devices = new Map<string, CdiDevice & { priority: number }>();
      const conflicting = new Set<string>();
      for (const [priority, directory] of directories.entries()) {
        for (const path of specFiles(directory, problems)) {
          const file = load(path, loaded.get(path));
          kept.set(path, file);
          if (file.problem !== null) problems.push({ path, message: file.problem });
          for (const device of file.devices) {
            const other = devices.get(device.name);
            if (other?.priority === priority) {
              const why = `conflicting device "${device.name}" (specs "${path}", "${other.spec.path}")`;
              problems.push({ path, message: why }, { path: other.spec.path, message: why });
              conflicting.add(device.name);
            } else conflicting.delete(device.name);
            devices.set(device.name, { ...device, priority });
          }
        }
      }
      for (const name of conflicting) devices.delete(name);
      loaded = kept;
      return { devices: new Map([...devices].sort(([a], [b]) => (a < b ? -1 : 1))), problems };
    },
  };
}

function specFiles(directory: string, problems: Discovered["problems"]): string[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    // Most machines have no such directory.
    if (!isMissing(error)) problems.push({ path: directory, message: textOf(error) });
    return [];
  }
  const files = names.filter((name) => /\.(json|yaml)$/.test(name)).sort();
  if (files.length > CDI_SPECS)
    problems.push({ path: directory, message: `only the first ${CDI_SPECS} of its files are read` });
  return files.slice(0, CDI_SPECS).map((name) => join(directory, name));
}

function load(path: string, before: Loaded | undefined): Loaded {
  let stamp = "";
  try {
    const { ino, mtimeNs, ctimeNs, size } = statSync(path, { bigint: true });
    stamp = `${ino} ${mtimeNs} ${ctimeNs} ${size}`;
    if (before?.stamp === stamp) return before;
    if (size > CDI_SPEC_BYTES) throw new Error(`it is larger than ${CDI_SPEC_BYTES} bytes`);
    return { stamp, devices: devicesOf(path, parseSpec(path, readFileSync(path, "utf8"))), problem: null };
  } catch (error) {
    return { stamp, devices: [], problem: `failed to load CDI Spec "${path}": ${textOf(error)}` };
  }
}

function parseSpec(path: string, text: string): CdiSpec {
  const result = v.safeParse(CdiSpec, path.endsWith(".json") ? JSON.parse(text) : parseYAML(text));
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new Error(`${v.getDotPath(issue) ?? "the file"}: ${issue.message}`);
}

function devicesOf(path: string, { kind, containerEdits, devices }: CdiSpec): CdiDevice[] {
  const spec = { path, edits: containerEdits as ContainerEdits };
  const names = devices.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`multiple device "${twice}"`);
  return devices.map(({ name, containerEdits: edits }) => ({ name: `${kind}=${name}`, edits, spec }));
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

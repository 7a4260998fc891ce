// Capabilities of the workload: Docker's default set, changed by --cap-add, --cap-drop and --privileged. See capabilities(7).
import { CAPABILITIES } from "../../../runtime/mod.ts";
import { invalid } from "../../errors.ts";

/** What a container has unless asked otherwise; the order is what tools print. */
export const DEFAULT_CAPABILITIES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FSETID",
  "CAP_FOWNER",
  "CAP_MKNOD",
  "CAP_NET_RAW",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETFCAP",
  "CAP_SETPCAP",
  "CAP_NET_BIND_SERVICE",
  "CAP_SYS_CHROOT",
  "CAP_KILL",
  "CAP_AUDIT_WRITE",
] as const;

const ALL = "ALL";

/** Any case, with or without CAP_, to the kernel's name; `ALL` stays. Throws Docker's 400s. */
export function parseCapability(text: string, available: ReadonlySet<string>): string {
  const upper = text.trim().toUpperCase();
  if (upper === ALL) return ALL;
  const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (!CAPABILITIES.includes(name)) throw invalid(`unknown capability: ${JSON.stringify(name)}`);
  if (!available.has(name)) {
    throw invalid(
      `capability not supported by your kernel or not available in the current environment: ${JSON.stringify(name)}`,
    );
  }
  return name;
}

export interface CapabilityChange {
  add: readonly string[];
  drop: readonly string[];
  isPrivileged: boolean;
}

/** The workload's set: drops before adds, but `ALL` in add keeps what was dropped by name out. */
export function effectiveCapabilities(change: CapabilityChange, available: ReadonlySet<string>): string[] {
  const every = CAPABILITIES.filter((name) => available.has(name));
  if (change.isPrivileged) return every;
  const add = change.add.map((name) => parseCapability(name, available));
  const drop = new Set(change.drop.map((name) => parseDropped(name)));
  if (add.includes(ALL)) return every.filter((name) => !drop.has(name));
  const base = drop.has(ALL) ? [] : DEFAULT_CAPABILITIES.filter((name) => available.has(name) && !drop.has(name));
  return [...new Set<string>([...base, ...add])];
}

/** Dropping what the machine does not have is no mistake. */
function parseDropped(text: string): string {
  return parseCapability(text, new Set(CAPABILITIES));
}

/** The CapBnd line of /proc/self/status to names: what this daemon can hand on at all. */
export function parseCapabilityMask(hex: string): ReadonlySet<string> {
  const mask = BigInt(`0x${hex}`);
  return new Set(CAPABILITIES.filter((_name, number) => (mask >> BigInt(number)) & 1n));
}

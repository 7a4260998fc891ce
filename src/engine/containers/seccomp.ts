// Docker's form of a seccomp profile to the runtime-spec's: rules that depend on capabilities, on the architecture or on
// the kernel's version are taken or left. A plain runtime-spec profile passes through. Pure.
import * as v from "valibot";
import type { OciSeccomp } from "../../../runtime/mod.ts";
import { invalid } from "../../errors.ts";

/** An argument's value has 64 bits, more than a number of JSON's keeps: see readNumber. */
const wide = () => v.union([v.number(), v.bigint()]);
const strings = () => v.nullish(v.array(v.string()), []);
const Filter = v.nullish(v.object({ caps: strings(), arches: strings(), minKernel: v.nullish(v.string(), "") }), {});

const Rule = v.object({
  /** Profiles of before Docker 1.10 have one name. */
  name: v.nullish(v.string(), ""),
  names: strings(),
  action: v.string(),
  errnoRet: v.nullish(v.number()),
  args: v.nullish(
    v.array(
      v.object({
        index: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(5)),
        value: wide(),
        valueTwo: v.nullish(wide(), 0),
        op: v.string(),
      }),
    ),
    [],
  ),
  includes: Filter,
  excludes: Filter,
});

/** Those that a filter alone can carry out. */
const ACTIONS = new Set(
  ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "TRACE", "TRAP"].map((name) => `SCMP_ACT_${name}`),
);
const FLAGS = new Set(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);

const Profile = v.object({
  defaultAction: v.string(),
  defaultErrnoRet: v.nullish(v.number()),
  architectures: strings(),
  archMap: v.nullish(v.array(v.object({ architecture: v.string(), subArchitectures: strings() })), []),
  syscalls: v.nullish(v.array(Rule), []),
  flags: strings(),
  listenerPath: v.nullish(v.string(), ""),
});
export type SeccompProfile = v.InferOutput<typeof Profile>;

/** Throws `invalid` for text that is no profile. */
export function parseSeccompProfile(text: string): SeccompProfile {
  let json: unknown;
  try {
    json = JSON.parse(text, readNumber);
  } catch (error) {
    throw invalid(`Decoding seccomp profile failed: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  return readSeccompProfile(json);
}

/** A reviver: whole numbers that a double would round become bigints, by their digits in the text. */
function readNumber(_key: string, value: unknown, context?: { source: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !/^\d+$/.test(context?.source ?? "")) return value;
  return BigInt(context?.source ?? 0);
}

/** The same for what has been parsed from JSON. */
export function readSeccompProfile(json: unknown): SeccompProfile {
  const parsed = v.safeParse(Profile, json);
  if (parsed.success) return checkProfile(parsed.output);
  const [issue] = parsed.issues;
  throw invalid(`Decoding seccomp profile failed: ${v.getDotPath(issue) ?? "profile"}: ${issue.message}`);
}

/** What the schema cannot say. COMPAT: Docker's words for the two that it knows. */
function checkProfile(profile: SeccompProfile): SeccompProfile {
  if (profile.architectures.length > 0 && profile.archMap.length > 0) {
    throw invalid(
      "both 'architectures' and 'archMap' were specified in the seccomp profile, use either 'architectures' or 'archMap'",
    );
  }
  if (profile.listenerPath !== "") throw invalid("seccomp: a listener for notifications is not supported");
  const unknownFlag = profile.flags.find((flag) => !FLAGS.has(flag));
  if (unknownFlag !== undefined) throw invalid(`seccomp: the flag ${JSON.stringify(unknownFlag)} is not supported`);
  for (const action of [profile.defaultAction, ...profile.syscalls.map((rule) => rule.action)]) {
    if (action === "SCMP_ACT_NOTIFY") throw invalid("seccomp: SCMP_ACT_NOTIFY is not supported: nobody listens");
    if (!ACTIONS.has(action)) throw invalid(`seccomp: the action ${JSON.stringify(action)} is unknown`);
  }
  for (const { name, names, args } of profile.syscalls) {
    if (name !== "" && names.length > 0) {
      throw invalid("both 'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'");
    }
    const unknown = args.find(({ op }) => !COMPARISONS.has(op));
    if (unknown) throw invalid(`seccomp: the comparison ${JSON.stringify(unknown.op)} is unknown`);
  }
  return profile;
}

const COMPARISONS = new Set(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"].map((name) => `SCMP_CMP_${name}`));

export interface SeccompTarget {
  arch: "x64" | "arm64";
  /** `6.18.0-1-amd64`. */
  kernelVersion: string;
  capabilities: readonly string[];
}

const NATIVE = {
  x64: { architecture: "SCMP_ARCH_X86_64", goArch: "amd64" },
  arm64: { architecture: "SCMP_ARCH_AARCH64", goArch: "arm64" },
} as const;

/** Sets of capabilities whose profile is kept: most containers have the same one. */
const RESOLVED_KEPT = 64;

/** A profile that is resolved once for each set of capabilities: a few hundred rules, at every start. */
export function seccompResolver(
  profile: SeccompProfile,
  facts: Omit<SeccompTarget, "capabilities">,
): (capabilities: readonly string[]) => OciSeccomp {
  const known = new Map<string, OciSeccomp>();
  return (capabilities) => {
    const key = capabilities.join();
    const resolved = known.get(key) ?? resolveSeccomp(profile, { ...facts, capabilities });
    if (known.size < RESOLVED_KEPT) known.set(key, resolved);
    return resolved;
  };
}

export function resolveSeccomp(profile: SeccompProfile, target: SeccompTarget): OciSeccomp {
  const { architecture } = NATIVE[target.arch];
  const mapped = profile.archMap.find((entry) => entry.architecture === architecture);
  const architectures = mapped ? [architecture, ...mapped.subArchitectures] : profile.architectures;
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet == null ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    architectures,
    ...(profile.flags.length === 0 ? {} : { flags: profile.flags }),
    syscalls: profile.syscalls
      .filter((rule) => applies(rule, target))
      .map((rule) => ({
        names: rule.name === "" ? rule.names : [rule.name, ...rule.names],
        action: rule.action,
        ...(rule.errnoRet == null ? {} : { errnoRet: rule.errnoRet }),
        ...(rule.args.length === 0 ? {} : { args: rule.args }),
      })),
  };
}

function applies(rule: v.InferOutput<typeof Rule>, target: SeccompTarget): boolean {
  const { includes, excludes } = rule;
  const has = (capability: string): boolean => target.capabilities.includes(capability);
  const isHere = (arch: string): boolean => arch === NATIVE[target.arch].goArch;
  if (excludes.arches.some(isHere) || excludes.caps.some(has)) return false;
  if (excludes.minKernel !== "" && isAtLeast(target.kernelVersion, excludes.minKernel)) return false;
  if (includes.arches.length > 0 && !includes.arches.some(isHere)) return false;
  if (!includes.caps.every(has)) return false;
  return includes.minKernel === "" || isAtLeast(target.kernelVersion, includes.minKernel);
}

function isAtLeast(version: string, wanted: string): boolean {
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split(".").map(Number);
  return major !== wantedMajor ? major > wantedMajor : minor >= wantedMinor;
}

// AppArmor's profile for containers that name none: made and loaded into the kernel where it is missing, by the
// administrator's own tool, apparmor_parser(8); the kernel takes only what a parser has compiled. A profile is put on by
// `attr/apparmor/exec` (program/init.ts).
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

/** COMPAT: Docker's name; administrators have profiles that speak of it. */
export const DEFAULT_APPARMOR_PROFILE = "docker-default";

export interface AppArmorPaths {
  /** apparmor_parser, where it may lie. */
  parsers: readonly string[];
  /** The profiles that are loaded, a line each: `name (mode)`. */
  loaded: string;
  /** The profile that this process runs under. */
  current: string;
  /** What distributions bring for profiles to include. */
  includes: string;
}

export const APPARMOR_PATHS: AppArmorPaths = {
  parsers: ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/local/sbin/apparmor_parser"],
  loaded: "/sys/kernel/security/apparmor/profiles",
  current: "/proc/self/attr/current",
  includes: "/etc/apparmor.d",
};

/** The compiler takes a second for it; on a machine that does nothing else, much less. */
const PARSER_TIMEOUT_MS = 60_000;

/**
 * Loads the default profile, unless it is loaded: somebody may have unloaded it meanwhile, as upgrades of packages do.
 * `missing`: there is no parser. Throws what the parser said where it refuses.
 */
export async function loadDefaultProfile(paths: AppArmorPaths): Promise<"loaded" | "missing"> {
  if (isLoaded(readFileSync(paths.loaded, "utf8"), DEFAULT_APPARMOR_PROFILE)) return "loaded";
  const parser = paths.parsers.find((path) => existsSync(path));
  if (parser === undefined) return "missing";
  const text = profileText({
    name: DEFAULT_APPARMOR_PROFILE,
    daemonProfile: profileIn(readOr(paths.current, "")),
    hasTunables: existsSync(`${paths.includes}/tunables/global`),
    hasBase: existsSync(`${paths.includes}/abstractions/base`),
  });
  await parse(parser, text);
  return "loaded";
}

export function isLoaded(list: string, name: string): boolean {
  return list.split("\n").some((line) => line.startsWith(`${name} (`));
}

/** `unconfined`, or `name (mode)`. */
function profileIn(current: string): string {
  return current.replaceAll("\0", "").trim().split(" ")[0] || "unconfined";
}

/** `-K`: no cache is written; `-r`: one that was loaded meanwhile is replaced. The text comes from standard input. */
function parse(parser: string, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile(parser, ["-Kr"], { timeout: PARSER_TIMEOUT_MS }, (error, stdout, stderr) => {
      if (error === null) return resolve();
      reject(new Error(`${parser}: ${`${stderr}${stdout}`.trim() || error.message}`, { cause: error }));
    });
    // It may end before it has read all: what it says then is the reason.
    child.stdin?.on("error", () => {});
    child.stdin?.end(text);
  });
}

export interface ProfileFacts {
  name: string;
  daemonProfile: string;
  hasTunables: boolean;
  hasBase: boolean;
}

/**
 * COMPAT: the rules of Docker's profile. What a container may do is bounded by its namespaces, capabilities and seccomp
 * filter; this keeps from it, whatever it mounts, what of /proc and /sys is the machine's own, and further mounts.
 */
export function profileText({ name, daemonProfile, hasTunables, hasBase }: ProfileFacts): string {
  const rules = [
    ...(hasBase ? ["#include <abstractions/base>"] : []),
    "network,",
    "capability,",
    "file,",
    "umount,",
    // Who may end it: processes of the host, the daemon where it has a profile of its own, and its neighbours inside.
    "signal (receive) peer=unconfined,",
    ...(daemonProfile === "unconfined" ? [] : [`signal (receive) peer=${daemonProfile},`]),
    `signal (send,receive) peer=${name},`,
    // /proc: only the processes' directories may be written, and kernel.shm* below sys.
    "deny @{PROC}/* w,",
    "deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,",
    "deny @{PROC}/sys/[^k]** w,",
    "deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,",
    "deny @{PROC}/sysrq-trigger rwklx,",
    "deny @{PROC}/kcore rwklx,",
    "deny mount,",
    // /sys: nothing but its own cgroups.
    "deny /sys/[^f]*/** wklx,",
    "deny /sys/f[^s]*/** wklx,",
    "deny /sys/fs/[^c]*/** wklx,",
    "deny /sys/fs/c[^g]*/** wklx,",
    "deny /sys/fs/cg[^r]*/** wklx,",
    "deny /sys/firmware/** rwklx,",
    "deny /sys/devices/virtual/powercap/** rwklx,",
    "deny /sys/kernel/security/** rwklx,",
    // ps and debuggers, among its own.
    `ptrace (trace,read,tracedby,readby) peer=${name},`,
  ];
  const preamble = hasTunables ? "#include <tunables/global>" : "@{PROC}=/proc/";
  const body = rules.map((rule) => `  ${rule}\n`).join("");
  return `${preamble}\n\nprofile ${name} flags=(attach_disconnected,mediate_deleted) {\n${body}}\n`;
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return otherwise;
  }
}

// --security-opt: no-new-privileges, seccomp, apparmor, label, writable-cgroups; `=` or the older `:` between key and value.
import { invalid } from "../../errors.ts";

export interface Security {
  noNewPrivileges: boolean;
  /** `builtin`, `unconfined`, or the text of a profile. */
  seccomp: string;
  /** `seccomp` was given: the engine's own default does not count then. */
  hasSeccomp: boolean;
  /** "" is the engine's default. */
  apparmor: string;
  hasWritableCgroups: boolean;
}

/** Throws Docker's 400s. COMPAT: labels, `disable` among them, ask for nothing where SELinux is off. */
export function parseSecurity(options: readonly string[], defaults: { noNewPrivileges: boolean }): Security {
  const security: Security = {
    noNewPrivileges: defaults.noNewPrivileges,
    seccomp: "builtin",
    hasSeccomp: false,
    apparmor: "",
    hasWritableCgroups: false,
  };
  for (const option of options) {
    if (option === "no-new-privileges") {
      security.noNewPrivileges = true;
      continue;
    }
    if (option === "writable-cgroups") {
      security.hasWritableCgroups = true;
      continue;
    }
    if (option === "disable") continue;
    // `:` is the older separator; a key has neither.
    const at = option.indexOf(option.includes("=") ? "=" : ":");
    if (at < 0) throw invalid(`invalid --security-opt 1: ${JSON.stringify(option)}`);
    const value = option.slice(at + 1);
    switch (option.slice(0, at)) {
      case "no-new-privileges":
        security.noNewPrivileges = parseBoolean(option, value);
        break;
      case "writable-cgroups":
        security.hasWritableCgroups = parseBoolean(option, value);
        break;
      case "seccomp":
        security.seccomp = value;
        security.hasSeccomp = true;
        break;
      case "apparmor":
        security.apparmor = value;
        break;
      case "label":
        break;
      default:
        throw invalid(`invalid --security-opt 2: ${JSON.stringify(option)}`);
    }
  }
  return security;
}

/** The words of Go's strconv.ParseBool, which clients were told to use. */
function parseBoolean(option: string, value: string): boolean {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(value)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(value)) return false;
  throw invalid(`invalid --security-opt 2: ${JSON.stringify(option)}`);
}

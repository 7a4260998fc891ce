// Which AppArmor profile a container runs under, and that the engine's own is there when one is to be put on.
import type { Log } from "../../log.ts";
import { internal } from "../../errors.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import { errorText } from "./error_text.ts";
import { parseSecurity } from "./security.ts";

const UNCONFINED = "unconfined";

export interface AppArmor {
  /** Before a container's start: loads the engine's own profile if the container is to have it, and it is missing. */
  prepare(hostConfig: HostConfig): Promise<void>;
  /** What is put on; "": nothing. */
  profile(hostConfig: HostConfig): string;
}

export interface AppArmorDeps {
  isSupported: boolean;
  defaultProfile: string;
  /** `missing`: this machine has no tool to load one by. */
  load: () => Promise<"loaded" | "missing">;
  log: Log;
}

export function createAppArmor({ isSupported, defaultProfile, load, log }: AppArmorDeps): AppArmor {
  let hasDefault = true;
  const profileOf = (hostConfig: HostConfig): string => {
    const shown = apparmorProfile(hostConfig, isSupported, defaultProfile);
    return shown === UNCONFINED ? "" : shown;
  };
  return {
    async prepare(hostConfig) {
      if (profileOf(hostConfig) !== defaultProfile || !isSupported) return;
      let outcome: "loaded" | "missing";
      try {
        outcome = await load();
      } catch (cause) {
        const text = `AppArmor enabled on system but the ${defaultProfile} profile could not be loaded: ${errorText(cause)}`;
        throw internal(text, { cause });
      }
      if (outcome === "missing" && hasDefault) {
        log.warn("containers run without an AppArmor profile: there is no apparmor_parser to load it by", {
          profile: defaultProfile,
        });
      }
      hasDefault = outcome === "loaded";
    },
    profile(hostConfig) {
      const profile = profileOf(hostConfig);
      return profile === defaultProfile && !hasDefault ? "" : profile;
    },
  };
}

/** As inspect shows it: "" where the kernel has no AppArmor. COMPAT: one that is named counts for privileged containers too. */
export function apparmorProfile(hostConfig: HostConfig, isSupported: boolean, defaultProfile: string): string {
  if (!isSupported) return "";
  const { apparmor } = parseSecurity(hostConfig.SecurityOpt, { noNewPrivileges: false });
  if (apparmor !== "") return apparmor;
  return hostConfig.Privileged ? UNCONFINED : defaultProfile;
}

// The registry client as the daemon builds it, with settings of the test's own.
import { createRegistry, type Registry, type RegistryDeps } from "../../src/image/registry.ts";
import { quietLog } from "./raw_http.ts";

type Settings = ReturnType<RegistryDeps["settings"]>;

export function registryClient(
  settings: Partial<Settings> = {},
  more: Partial<Pick<RegistryDeps, "now" | "timeouts">> = {},
): Registry {
  const complete = {
    insecureRegistries: [],
    registryMirrors: [],
    certsDirs: [],
    proxies: { http: "", https: "", no: "" },
    ...settings,
  };
  return createRegistry({ fetch, now: Date.now, log: quietLog, settings: () => complete, ...more });
}

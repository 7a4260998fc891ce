// Legacy links of containers that run: the other one comes back with another address, or a link is taken away
// (`docker rm --link`). The hosts file is bind-mounted, so it is written in place.
import { writeFileSync } from "node:fs";
import { internal, notFound } from "../../errors.ts";
import { filePaths, forgetHosts, moveHosts, readText } from "../networks/files.ts";
import type { ContainersDeps } from "./deps.ts";
import { isLegacy, parseLink } from "./links.ts";
import { containerDir } from "./paths.ts";
import type { Live } from "./registry.ts";
import { hasTask } from "./state.ts";

/** A container has started: those that run and link to it learn its address. COMPAT: their variables stay as they were. */
export function tellLinking(deps: ContainersDeps, child: Live): void {
  const endpoint = child.record.endpoints.find(({ networkName }) => networkName === "bridge");
  const addresses = [endpoint?.ipAddress ?? "", endpoint?.ip6Address ?? ""].filter((address) => address !== "");
  if (addresses.length === 0) return;
  for (const parent of deps.registry.all()) {
    const { hostConfig, state } = parent.record;
    if (hostConfig.Links.length === 0 || !isLegacy(hostConfig.NetworkMode) || !hasTask(state)) continue;
    for (const link of hostConfig.Links) {
      const { container, alias } = parseLink(link);
      if (container !== child.id) continue;
      changeHostsFile(deps, parent, (text) => moveHosts(text, alias, addresses));
    }
  }
}

/** `/app/db`: the link by which `app` knows another container as `db`. COMPAT: Docker's words, and its statuses. */
export async function removeLink(deps: ContainersDeps, path: string): Promise<void> {
  const [parentName = "", alias = "", ...more] = path.replace(/^\//, "").split("/");
  const parent = deps.registry.get(parentName);
  if (alias === "") throw internal("Conflict, cannot remove the default link name of the container");
  using _lock = await deps.registry.lock(parent);
  const { hostConfig, state } = parent.record;
  const hasName = (link: string): boolean => parseLink(link).alias === alias;
  if (more.length > 0 || !isLegacy(hostConfig.NetworkMode) || !hostConfig.Links.some(hasName)) {
    throw notFound(`No such container: ${path}`);
  }
  const Links = hostConfig.Links.filter((link) => !hasName(link));
  await deps.machine.edit(parent, { hostConfig: { ...hostConfig, Links } });
  if (hasTask(state)) changeHostsFile(deps, parent, (text) => forgetHosts(text, alias));
}

/** A file that cannot be read or written costs the entry, not the start of the other container. */
function changeHostsFile(deps: ContainersDeps, parent: Live, change: (text: string) => string): void {
  const path = filePaths(containerDir(deps.config(), parent.id)).hosts;
  const text = readText(path);
  if (text === null) return;
  const changed = change(text);
  if (changed === text) return;
  try {
    writeFileSync(path, changed);
  } catch (error) {
    deps.log.warn("a link's entry could not be written", { container: parent.id, error });
  }
}

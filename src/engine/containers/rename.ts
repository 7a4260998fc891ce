// A new name for a container: reserved first, then written, then the old one is free.
import { invalid } from "../../errors.ts";
import { parseContainerName } from "../names.ts";
import type { ContainersDeps } from "./deps.ts";

export async function rename(deps: ContainersDeps, nameOrID: string, newName: string): Promise<void> {
  if (nameOrID === "" || newName === "") throw invalid("Neither old nor new names may be empty");
  const live = deps.registry.get(nameOrID);
  const name = parseContainerName(newName);
  using _lock = await deps.registry.lock(live);
  const oldName = live.record.name;
  if (name === oldName) throw invalid("Renaming a container with the same name as its current name");
  using reserved = deps.registry.reserveName(name, live.id);
  const endpoints = live.record.endpoints.map((endpoint) => ({
    ...endpoint,
    dnsNames: endpoint.dnsNames.map((known) => (known === oldName ? name : known)),
  }));
  await deps.machine.edit(live, { name, endpoints });
  deps.networking.renamed(live.record);
  reserved.keep();
  // COMPAT: with the slash here, and without in the name attribute.
  deps.machine.announce(live, { action: "rename", attributes: { oldName: `/${oldName}` } });
}

// The driver options of networks that stand on one of the host's links: macvlan and ipvlan. Pure. COMPAT: names, defaults and
// refusals are Docker's; an option that means nothing is refused by the kernel driver's name for it.
import type { DirectKind } from "../../../runtime/mod.ts";
import { forbidden, invalid } from "../../errors.ts";
import { shortID } from "../ids.ts";
import type { NetworkRecord } from "../mod.ts";

export interface DirectOptions {
  /** `eth0`, `eth0.10`. */
  parent: string;
  link: DirectKind;
}

type Named = Pick<NetworkRecord, "id" | "driver" | "options">;

export function isDirect({ driver }: Pick<NetworkRecord, "driver">): boolean {
  return driver === "macvlan" || driver === "ipvlan";
}

export function directOptions({ driver, options }: Named): DirectOptions {
  const parent = options["parent"] ?? "";
  if (parent === "")
    throw invalid(`a network of driver ${driver} stands on a link of the host: name it by -o parent=…`);
  return { parent, link: driver === "macvlan" ? macvlan(options) : ipvlan(options) };
}

function macvlan(options: Record<string, string>): DirectKind {
  const mode = options["macvlan_mode"] ?? "";
  switch (mode) {
    case "":
      return { kind: "macvlan", mode: "bridge" };
    case "private":
    case "vepa":
    case "bridge":
    case "passthru":
      return { kind: "macvlan", mode };
    default:
      throw invalid(`requested macvlan mode '${mode}' is not valid, 'bridge' mode is the macvlan driver default`);
  }
}

function ipvlan(options: Record<string, string>): DirectKind {
  const mode = options["ipvlan_mode"] || "l2",
    flag = options["ipvlan_flag"] || "bridge";
  if (mode !== "l2" && mode !== "l3" && mode !== "l3s") {
    throw invalid(`requested ipvlan mode '${mode}' is not valid, 'l2' mode is the ipvlan driver default`);
  }
  if (flag !== "bridge" && flag !== "private" && flag !== "vepa") {
    throw invalid(`requested ipvlan flag '${flag}' is not valid, 'bridge' is the ipvlan driver default flag`);
  }
  return { kind: "ipvlan", mode, flag };
}

/** A link carries one network: two would hand out each other's addresses. Throws Docker's 403. */
export function checkParent(record: NetworkRecord, existing: readonly NetworkRecord[]): void {
  const { parent } = directOptions(record);
  const other = existing.find((one) => isDirect(one) && directOptions(one).parent === parent);
  if (other === undefined) return;
  throw forbidden(`network ${shortID(other.id)} is already using parent interface ${parent}`);
}

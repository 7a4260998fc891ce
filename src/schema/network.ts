// Networks and endpoint settings as clients send them. Source: EndpointSettings, NetworkCreateRequest, IPAM in v1.55.yaml.
import * as v from "valibot";
import { flag, integer, list, map, orNull, text, textMap } from "./common.ts";

const EndpointIPAMConfig = v.object({
  IPv4Address: text(),
  IPv6Address: text(),
  LinkLocalIPs: list(v.string()),
});

/** What a client asks of one attachment; the fields that only the engine fills are not read. */
export const EndpointSettings = v.object({
  IPAMConfig: orNull(EndpointIPAMConfig),
  Links: list(v.string()),
  MacAddress: text(),
  Aliases: list(v.string()),
  DriverOpts: textMap(),
  GwPriority: integer(),
});
export type EndpointSettings = v.InferOutput<typeof EndpointSettings>;

export const NetworkingConfig = v.object({ EndpointsConfig: map(v.nullish(EndpointSettings, {})) });
export type NetworkingConfig = v.InferOutput<typeof NetworkingConfig>;

const IPAMPool = v.object({ Subnet: text(), IPRange: text(), Gateway: text(), AuxiliaryAddresses: textMap() });
const IPAM = v.object({
  Driver: v.nullish(v.string(), "default"),
  Config: list(IPAMPool),
  Options: orNull(v.record(v.string(), v.string())),
});

export const NetworkCreate = v.object({
  Name: text(),
  Driver: text(),
  Scope: text(),
  Internal: flag(),
  Attachable: flag(),
  Ingress: flag(),
  ConfigOnly: flag(),
  ConfigFrom: orNull(v.object({ Network: text() })),
  IPAM: orNull(IPAM),
  EnableIPv4: orNull(v.boolean()),
  EnableIPv6: orNull(v.boolean()),
  Options: textMap(),
  Labels: textMap(),
});
export type NetworkCreate = v.InferOutput<typeof NetworkCreate>;

export const NetworkConnect = v.object({ Container: text(), EndpointConfig: orNull(EndpointSettings) });
export const NetworkDisconnect = v.object({ Container: text(), Force: flag() });

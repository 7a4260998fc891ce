// The MAC address of a whole container, as requests before API 1.52 have it. Since 1.44 an endpoint has its own, and the older
// field is moved to the endpoint of the network that the mode names. Pure; the texts are Docker's.
import { invalid } from "../errors.ts";
import type { ContainerCreate } from "../schema/container.ts";
import type { NetworkingConfig } from "../schema/network.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";

type Endpoints = NetworkingConfig["EndpointsConfig"];

const DEPRECATED =
  "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.";

/** Where the address belongs, and the warning that Docker gives for it. Throws Docker's 400s. */
export function macFromVersion(
  body: ContainerCreate,
  version: ApiVersion,
): { body: ContainerCreate; warnings: string[] } {
  const { MacAddress: address, NetworkingConfig: networking } = body;
  const { EndpointsConfig: endpoints } = networking;
  const withEndpoints = (EndpointsConfig: Endpoints, MacAddress: string): ContainerCreate => ({
    ...body,
    MacAddress,
    NetworkingConfig: { ...networking, EndpointsConfig },
  });
  // COMPAT: since 1.52 an address belongs to an endpoint alone.
  if (isAtLeast(version, 52)) return { body: { ...body, MacAddress: "" }, warnings: [] };
  const hasNetwork = isOwnNetwork(body.HostConfig.NetworkMode);
  if (!isAtLeast(version, 44)) {
    if (address !== "" && !hasNetwork) throw invalid("conflicting options: mac-address and the network mode");
    // COMPAT: an endpoint had no address of its own; that of the container went to the one endpoint that there could be.
    return {
      body: withEndpoints(
        mapValues(endpoints, (each) => ({ ...each, MacAddress: address })),
        address,
      ),
      warnings: [],
    };
  }
  if (address === "") return { body, warnings: [] };
  if (!hasNetwork) return { body: { ...body, MacAddress: "" }, warnings: [DEPRECATED] };
  const main = mainEndpoint(body);
  // Which endpoint was meant cannot be told: a network may be named by its ID too.
  if (main === null && Object.keys(endpoints).length > 0) {
    throw invalid(
      "if a container-wide MAC address is supplied, HostConfig.NetworkMode must match the identity of a network " +
        "in NetworkSettings.Networks",
    );
  }
  // Without settings of endpoints the address stays where it is, and goes to the first one.
  if (main === null) return { body, warnings: [DEPRECATED] };
  const settings = endpoints[main];
  if (settings === undefined) return { body, warnings: [DEPRECATED] };
  if (settings.MacAddress !== "" && settings.MacAddress !== address) {
    throw invalid(
      "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
    );
  }
  return {
    body: withEndpoints({ ...endpoints, [main]: { ...settings, MacAddress: address } }, ""),
    warnings: [DEPRECATED],
  };
}

/** The default bridge, or a network that the user made: not the host's, none, or another container's. */
function isOwnNetwork(mode: string): boolean {
  return !["host", "none"].includes(mode) && !mode.startsWith("container:");
}

/** The key of the endpoint on the network that the mode names; null: there is none. */
function mainEndpoint({ HostConfig, NetworkingConfig }: ContainerCreate): string | null {
  const normal = (name: string): string => (name === "" || name === "default" ? "bridge" : name);
  const mode = normal(HostConfig.NetworkMode);
  return Object.keys(NetworkingConfig.EndpointsConfig).find((key) => normal(key) === mode) ?? null;
}

function mapValues(endpoints: Endpoints, change: (settings: Endpoints[string]) => Endpoints[string]): Endpoints {
  return Object.fromEntries(Object.entries(endpoints).map(([name, settings]) => [name, change(settings)]));
}

// The options of networks: a part of the table in options.ts.
import { addressPools, bool, int, list, networkOptions, string, text, texts } from "./kinds.ts";
import { parseCIDR, parseIPAddress, parseMark, parseSearchDomain } from "./values.ts";
import { type Option, acts, foreign, both, fileOnly, atLeast, checked, oneOf, orEmpty } from "./option.ts";

export const NETWORK_OPTIONS: readonly Option[] = [
  acts(
    { flag: "bridge", key: "bridge", short: "b" },
    string,
    "Bridge of the default network, or none",
    (config, value) => {
      config.bridge = value === "" ? "docker0" : value;
    },
  ),
  acts("bip", text(orEmpty(parseCIDR)), "Address of the default bridge", (config, value) => {
    config.bip = value;
  }),
  acts("mtu", checked(int, atLeast(0, "default MTU")), "MTU of the default bridge", (config, value) => {
    config.mtu = value === 0 ? 1500 : value;
  }),
  acts(
    both("default-address-pool", "default-address-pools"),
    addressPools,
    "Pools for new networks",
    (config, value) => {
      config.defaultAddressPools = value;
    },
  ),
  acts("dns", list(parseIPAddress), "DNS server(s) of containers", (config, value) => {
    config.dns = value;
  }),
  acts(both("dns-opt", "dns-opts"), texts, "DNS options of containers", (config, value) => {
    config.dnsOptions = value;
  }),
  acts("dns-search", list(parseSearchDomain), "DNS search domains of containers", (config, value) => {
    config.dnsSearch = value;
  }),
  acts("iptables", bool, "Write firewall rules (by nf_tables)", (config, value) => {
    config.managesFirewall = value;
  }),
  acts("ip-forward", bool, "Enable net.ipv4.ip_forward", (config, value) => {
    config.enablesIPForward = value;
  }),
  // What is forwarded is decided bridge by bridge; what passes by them all is never dropped.
  foreign("ip-forward-no-drop", bool, "The forward policy is left alone", [true, false]),
  acts("ip6tables", bool, "Write IPv6 firewall rules", (config, value) => {
    config.managesFirewallIPv6 = value;
  }),
  acts("ip-masq", bool, "Masquerade the default bridge's addresses", (config, value) => {
    config.defaultBridge.masquerades = value;
  }),
  acts("icc", bool, "Containers of the default bridge may talk to each other", (config, value) => {
    config.defaultBridge.allowsTraffic = value;
  }),
  acts("ip", text(parseIPAddress), "Default host address of ports published on the default bridge", (config, value) => {
    config.defaultBridge.bindingIP = value;
  }),
  acts("ipv6", bool, "IPv6 on the default bridge", (config, value) => {
    config.defaultBridge.enablesIPv6 = value;
  }),
  acts("bip6", text(orEmpty(parseCIDR)), "IPv6 address of the default bridge", (config, value) => {
    config.defaultBridge.bip6 = value;
  }),
  acts("fixed-cidr", text(orEmpty(parseCIDR)), "Range for addresses of the default bridge", (config, value) => {
    config.defaultBridge.fixedCIDR = value;
  }),
  acts("fixed-cidr-v6", text(orEmpty(parseCIDR)), "IPv6 range of the default bridge", (config, value) => {
    config.defaultBridge.fixedCIDR6 = value;
  }),
  acts("default-gateway", text(orEmpty(parseIPAddress)), "Gateway of the default bridge", (config, value) => {
    config.defaultBridge.gateway = value;
  }),
  acts("default-gateway-v6", text(orEmpty(parseIPAddress)), "IPv6 gateway of the default bridge", (config, value) => {
    config.defaultBridge.gateway6 = value;
  }),
  acts(
    both("host-gateway-ip", "host-gateway-ips"),
    list(parseIPAddress),
    "Address(es) of host-gateway",
    (config, value) => {
      config.hostGatewayIPs = value;
    },
  ),
  acts(fileOnly("host-gateway-ip"), text(orEmpty(parseIPAddress)), "Address of host-gateway", (config, value) => {
    config.hostGatewayIPs = value === "" ? [] : [value];
  }),
  acts(
    both("default-network-opt", "default-network-opts"),
    networkOptions,
    "Default options of networks: driver=option=value",
    (config, value) => {
      config.defaultNetworkOptions = value;
    },
  ),
  acts("allow-direct-routing", bool, "Published ports answer at containers' own addresses too", (config, value) => {
    config.allowsDirectRouting = value;
  }),
  acts("bridge-accept-fwmark", text(parseMark), "Mark of packets that may reach any container", (config, value) => {
    config.acceptMark = value;
  }),
  foreign("firewall-backend", oneOf("firewall backend", ["", "nftables", "iptables"]), "berth writes nf_tables", [
    "",
    "nftables",
  ]),
  foreign("userland-proxy", bool, "berth needs no process for a published port", [true, false]),
  foreign("userland-proxy-path", string, "Path of docker-proxy", [""]),
  acts(fileOnly("resolv-conf"), string, "The resolv.conf to start from", (config, value) => {
    config.resolvConf = value;
  }),
];

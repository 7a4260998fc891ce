// The command line, daemon.json and the environment to a Config: `parseCommandLine`. Pure: what it reads is passed in, and
// nothing is touched before all of it has been checked. The options are in config/options.ts.
import { ConfigError } from "./config/error.ts";
import { fileError, readFileOptions, readFileValue } from "./config/file.ts";
import { checkTexts, parseFlags } from "./config/flags.ts";
import type { Apply, Option } from "./config/option.ts";
import { OPTIONS } from "./config/options.ts";
import type { Config } from "./config/types.ts";
import { parseBool, parseHost } from "./config/values.ts";

export { ConfigError } from "./config/error.ts";
export { planReload, type Reload } from "./config/reload.ts";
export type { Config, IDMaps } from "./config/types.ts";

export type Command = "serve" | "up" | "doctor" | "verify" | "version" | "help" | "validate";

export interface CommandLine {
  command: Command;
  /** How the program was called: links named dockerd start with dockerd's own defaults. */
  program: "berth" | "dockerd";
  config: Config;
  /** `berth verify --repair`. */
  repairs: boolean;
  /** One sentence for each option that is accepted and does nothing. */
  warnings: string[];
}

export interface Inputs {
  /** argv[0]: the name the program was started by. */
  argv0: string;
  /** The words after it. */
  args: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  /** The text of a file, or null where there is none. Other failures throw. */
  readFile: (path: string) => string | null;
}

/** COMPAT: where machines that had dockerd keep them. */
const DOCKER_CERTS = "/etc/docker/certs.d";

const COMMANDS: Readonly<Record<string, Command>> = {
  serve: "serve",
  daemon: "serve",
  up: "up",
  doctor: "doctor",
  verify: "verify",
  version: "version",
  help: "help",
};

export function parseCommandLine({ argv0, args, env, readFile }: Inputs): CommandLine {
  const program = programName(argv0);
  const { flags, command } = withHint(program, () => {
    const found = parseFlags(args);
    return { flags: found, command: commandOf(program, found.positionals) };
  });
  const isSet = (name: "help" | "version" | "validate" | "repair"): boolean =>
    parseBool(flags.special.get(name) ?? "false");
  const config = defaults(program, env);
  if (isSet("help") || command === "help") return { command: "help", program, config, repairs: false, warnings: [] };
  if (isSet("version") || command === "version")
    return { command: "version", program, config, repairs: false, warnings: [] };

  const warnings: string[] = [];
  const applies: Apply[] = [];
  const note = (option: Option, name: string, apply: Apply | null): void => {
    if (apply === null) return;
    applies.push(apply);
    if (option.standing === "later") warnings.push(`${name} is not supported yet and is ignored`);
    if (option.standing === "foreign") warnings.push(`${name} has no meaning for berth and is ignored`);
  };
  const file =
    flags.special.get("config-file") ?? (program === "dockerd" ? "/etc/docker/daemon.json" : "/etc/berth/daemon.json");
  const text = readConfigFile(file, flags.special.has("config-file"), readFile);
  const inFile = text === null ? new Map<Option, unknown>() : readFileOptions(text, file, flags.options);
  // In the order of the table, so that the outcome does not depend on that of keys or flags.
  for (const option of OPTIONS) {
    if (inFile.has(option)) note(option, `"${option.key}" in ${file}`, readFileValue(option, inFile.get(option), file));
    const texts = flags.options.get(option);
    if (texts) note(option, `--${option.flag}`, checkTexts(option, texts));
  }
  config.certsDirs = [...new Set([`${file.replace(/[^/]*$/, "")}certs.d`, DOCKER_CERTS])];
  for (const apply of applies) apply(config);
  finish(config, program);
  const repairs = isSet("repair");
  if (repairs && command !== "verify") throw new ConfigError("--repair is for berth verify");
  return { command: isSet("validate") ? "validate" : command, program, config, repairs, warnings };
}

/** COMPAT: what is wrong with a command line ends with where to read about it. */
function withHint<Value>(program: string, parse: () => Value): Value {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`${error.message}\nSee '${program} --help'.`);
  }
}

/** The names of the program are its link's: `/usr/bin/dockerd` is dockerd. */
function programName(argv0: string): "berth" | "dockerd" {
  return argv0.split("/").at(-1) === "dockerd" ? "dockerd" : "berth";
}

function commandOf(program: "berth" | "dockerd", positionals: readonly string[]): Command {
  const [word, ...more] = positionals;
  if (word === undefined) return "serve";
  // COMPAT: dockerd has no commands.
  if (program === "dockerd") throw new ConfigError(`"dockerd" accepts no arguments.`);
  const command = COMMANDS[word];
  if (command === undefined || !Object.hasOwn(COMMANDS, word)) throw new ConfigError(`unknown command: ${word}`);
  if (more.length > 0 && command !== "help") throw new ConfigError(`"berth ${word}" accepts no arguments.`);
  return command;
}

function readConfigFile(path: string, isAsked: boolean, readFile: Inputs["readFile"]): string | null {
  let text: string | null;
  try {
    text = readFile(path);
  } catch (error) {
    throw fileError(path, error instanceof Error ? error.message : String(error));
  }
  if (text === null && isAsked) throw fileError(path, `open ${path}: no such file or directory`);
  return text;
}

/**
 * What holds where nobody says otherwise. The data root is berth's own, also as dockerd: what a Docker of this machine keeps
 * in /var/lib/docker is not ours to touch.
 */
function defaults(program: "berth" | "dockerd", env: Inputs["env"]): Config {
  const certificates = env["DOCKER_CERT_PATH"] || `${env["HOME"] || "/root"}/.docker`;
  const isVerified = (env["DOCKER_TLS_VERIFY"] ?? "") !== "";
  return {
    hosts: [],
    dataRoot: "/var/lib/berth",
    execRoot: "/run/berth",
    pidfile: program === "dockerd" ? "/var/run/docker.pid" : "/run/berth.pid",
    group: "docker",
    bridge: "docker0",
    bip: "",
    mtu: 1500,
    cgroupParent: "/berth",
    isCgroupParentExplicit: false,
    logLevel: "info",
    logFormat: "text",
    isDebug: false,
    storageDriver: "overlay2",
    insecureRegistries: [],
    registryMirrors: [],
    certsDirs: [DOCKER_CERTS],
    dns: [],
    dnsOptions: [],
    dnsSearch: [],
    managesFirewall: true,
    enablesIPForward: true,
    isLiveRestore: true,
    shutdownTimeoutSec: 15,
    labels: [],
    isExperimental: false,
    defaultLogDriver: "json-file",
    // Bounded, unlike Docker's: a log must not fill the disk because nobody thought of it.
    defaultLogOptions: { "max-size": "20m", "max-file": "5" },
    defaultUlimits: {},
    defaultShmSizeBytes: 64 << 20,
    maxConcurrentDownloads: 3,
    maxConcurrentUploads: 5,
    maxDownloadAttempts: 5,
    initPath: "",
    isInitDefault: false,
    noNewPrivileges: false,
    defaultStopTimeoutSec: 10,
    defaultRuntime: "runc",
    realtimePeriodUs: 0,
    realtimeRuntimeUs: 0,
    oomScoreAdjust: 0,
    cdiSpecDirs: ["/etc/cdi", "/var/run/cdi"],
    seccompProfile: "builtin",
    usernsRemap: "",
    idMaps: null,
    defaultIpcMode: "private",
    defaultCgroupnsMode: "",
    defaultBridge: {
      allowsTraffic: true,
      masquerades: true,
      bindingIP: "0.0.0.0",
      enablesIPv6: false,
      bip6: "",
      fixedCIDR: "",
      fixedCIDR6: "",
      gateway: "",
      gateway6: "",
    },
    hostGatewayIPs: [],
    defaultNetworkOptions: {},
    managesFirewallIPv6: true,
    allowsDirectRouting: false,
    acceptMark: null,
    resolvConf: "",
    defaultAddressPools: [],
    tls: {
      isOn: false,
      verifies: isVerified,
      isRefused: false,
      caFile: `${certificates}/ca.pem`,
      certFile: `${certificates}/cert.pem`,
      keyFile: `${certificates}/key.pem`,
    },
    proxies: {
      http: env["HTTP_PROXY"] || env["http_proxy"] || "",
      https: env["HTTPS_PROXY"] || env["https_proxy"] || "",
      no: env["NO_PROXY"] || env["no_proxy"] || "",
    },
  };
}

/** What needs the whole configuration: addresses in full, and the one combination that is refused. */
function finish(config: Config, program: "berth" | "dockerd"): void {
  const socket = program === "dockerd" ? "/var/run/docker.sock" : "/run/berth.sock";
  config.tls.isOn ||= config.tls.verifies;
  const hosts = config.hosts.length > 0 ? config.hosts : [""];
  config.hosts = [...new Set(hosts.map((host) => parseHost(host, { socket, isTLS: config.tls.isOn })))];
  if (config.isDebug) config.logLevel = "debug";
  for (const [name, path] of [
    ["data-root", config.dataRoot],
    ["exec-root", config.execRoot],
  ]) {
    if (!path?.startsWith("/"))
      throw new ConfigError(`invalid ${name}: ${JSON.stringify(path)}: an absolute path is needed`);
  }
  const open = config.hosts.find((host) => host.startsWith("tcp://"));
  if (open !== undefined && !config.tls.verifies && !config.tls.isRefused) {
    throw new ConfigError(
      `refusing to listen on ${open}: whoever can connect to it would be root on this machine. Ask for client certificates ` +
        "with --tlsverify, --tlscacert, --tlscert and --tlskey, or say --tls=false to listen without any protection",
    );
  }
}

/** The text of --help. */
export function helpText(program: "berth" | "dockerd"): string {
  const commands = [
    "Commands (berth serves when none is given):",
    "  serve    Run the daemon",
    "  up       Check this machine, run a container as a test, then serve",
    "  doctor   Check this machine feature by feature and run a container as a test",
    "  verify   Check stored images against their digests; --repair mends from blobs and registries",
    "  version  Print the version",
    "",
  ];
  const specials: [string, string][] = [
    [
      "    --config-file string",
      "Configuration file (default " + (program === "dockerd" ? "/etc/docker/daemon.json)" : "/etc/berth/daemon.json)"),
    ],
    ["-h, --help", "Print this text"],
    ...(program === "berth" ? [["    --repair", "Let verify mend what it finds"] as [string, string]] : []),
    ["    --validate", "Check the configuration and exit"],
    ["-v, --version", "Print the version"],
  ];
  const rows = OPTIONS.flatMap((option): [string, string][] => {
    if (option.flag === null) return [];
    const lead = option.short === null ? "    " : `-${option.short}, `;
    const note = { acts: "", later: " (not yet)", foreign: " (ignored)" }[option.standing];
    return [[`${lead}--${option.flag} ${option.placeholder}`.trimEnd(), option.help + note]];
  });
  const all = [...rows, ...specials].sort(([a], [b]) => a.slice(4).localeCompare(b.slice(4)));
  const width = Math.max(...all.map(([left]) => left.length)) + 3;
  return [
    `Usage: ${program} ${program === "berth" ? "[COMMAND] " : ""}[OPTIONS]`,
    "",
    "A Docker Engine in one executable.",
    "",
    ...(program === "berth" ? commands : []),
    "Options:",
    ...all.map(([left, right]) => `  ${left.padEnd(width)}${right}`),
    "",
  ].join("\n");
}

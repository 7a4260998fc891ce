// --userns-remap: whose IDs remapped containers have, by the machine's account files, and where such a daemon keeps what it
// has. See subuid(5).
import { type Config, ConfigError, type IDMaps } from "./config.ts";

/** The accounts of this machine. */
export interface Accounts {
  /** The text of a file, or null where there is none. */
  readFile(path: string): string | null;
  /** Runs a program of the machine's; throws when it fails. */
  run(program: string, args: readonly string[]): void;
}

interface Account {
  name: string;
  id: number;
}

/** COMPAT: the user and group that `default` stands for. */
const DEFAULT_NAME = "dockremap";
const FIRST_SUBORDINATE = 100000,
  SUBORDINATE_IDS = 65536;

/**
 * The same configuration with its maps. COMPAT: everything lies in a directory of the data root that is named after the
 * remapped root, so that a daemon with other IDs, or without, sees none of it.
 */
export function withRemap(config: Config, accounts: Accounts): Config {
  if (config.usernsRemap === "") return config;
  const name = userOf(config.usernsRemap, accounts);
  if (name === "root") throw new ConfigError("userns-remap: root cannot be remapped to itself");
  const idMaps: IDMaps = {
    uidMappings: toMappings(rangesOf(accounts, "uid", name), "uid", name),
    gidMappings: toMappings(rangesOf(accounts, "gid", name), "gid", name),
  };
  const place = `${idMaps.uidMappings[0]?.hostID ?? 0}.${idMaps.gidMappings[0]?.hostID ?? 0}`;
  return { ...config, idMaps, dataRoot: `${config.dataRoot}/${place}`, execRoot: `${config.execRoot}/${place}` };
}

/** The name of the user whose subordinate IDs are meant, for users and groups alike. COMPAT: Docker's words. */
function userOf(specification: string, accounts: Accounts): string {
  const [user = "", group, ...more] = specification.split(":");
  if (more.length > 0 || user === "") {
    throw new ConfigError(`invalid user/group specification in --userns-remap: ${JSON.stringify(specification)}`);
  }
  const users = readAccounts(accounts, "/etc/passwd"),
    groups = readAccounts(accounts, "/etc/group");
  if (isNumber(user)) {
    const found = users.find(({ id }) => id === Number(user));
    if (!found) throw new ConfigError(`uid ${user} has no entry in /etc/passwd`);
    checkGroup(groups, group ?? user);
    return found.name;
  }
  const name = user === "default" ? DEFAULT_NAME : user;
  if (!users.some((one) => one.name === name)) {
    if (user !== "default") throw new ConfigError(`error during uid lookup for ${JSON.stringify(name)}: no such user`);
    makeDefaultUser(accounts);
    return DEFAULT_NAME;
  }
  checkGroup(groups, group ?? name);
  return name;
}

function checkGroup(groups: readonly Account[], group: string): void {
  if (isNumber(group)) {
    if (groups.some(({ id }) => id === Number(group))) return;
    throw new ConfigError(`gid ${group} has no entry in /etc/group`);
  }
  if (groups.some(({ name }) => name === group)) return;
  throw new ConfigError(`error during gid lookup for ${JSON.stringify(group)}: no such group`);
}

function isNumber(text: string): boolean {
  return /^\d{1,10}$/.test(text);
}

/** The lines of passwd(5) or group(5). */
function readAccounts(accounts: Accounts, path: string): Account[] {
  return (accounts.readFile(path) ?? "").split("\n").flatMap((line) => {
    const [name = "", , id = ""] = line.split(":");
    return name !== "" && isNumber(id) ? [{ name, id: Number(id) }] : [];
  });
}

interface Range {
  owner: string;
  start: number;
  count: number;
}

function readRanges(accounts: Accounts, kind: "uid" | "gid"): Range[] {
  return (accounts.readFile(`/etc/sub${kind}`) ?? "").split("\n").flatMap((line) => {
    const [owner = "", start = "", count = ""] = line.trim().split(":");
    if (owner === "" || !isNumber(start) || !isNumber(count) || Number(count) === 0) return [];
    return [{ owner, start: Number(start), count: Number(count) }];
  });
}

/** Those of a user, which may stand there by its number, too. */
function rangesOf(accounts: Accounts, kind: "uid" | "gid", name: string): Range[] {
  const uid = readAccounts(accounts, "/etc/passwd").find((one) => one.name === name)?.id;
  return readRanges(accounts, kind).filter(({ owner }) => owner === name || owner === String(uid));
}

/** One after the other from 0 on, the lowest first. The kernel takes 340 lines. */
function toMappings(ranges: readonly Range[], kind: "uid" | "gid", name: string): IDMaps["uidMappings"] {
  if (ranges.length === 0) {
    throw new ConfigError(`Can't create ID mappings: no sub${kind} ranges found for user ${JSON.stringify(name)}`);
  }
  let containerID = 0;
  return ranges
    .toSorted((a, b) => a.start - b.start)
    .map(({ start, count }) => {
      const mapping = { containerID, hostID: start, size: count };
      containerID += count;
      return mapping;
    });
}

/** COMPAT: as dockerd, by the machine's own tools. */
function makeDefaultUser(accounts: Accounts): void {
  try {
    accounts.run("useradd", ["--system", "--user-group", "--shell", "/bin/false", DEFAULT_NAME]);
    if (rangesOf(accounts, "uid", DEFAULT_NAME).length === 0) {
      accounts.run("usermod", ["--add-subuids", nextRange(accounts, "uid"), DEFAULT_NAME]);
    }
    if (rangesOf(accounts, "gid", DEFAULT_NAME).length === 0) {
      accounts.run("usermod", ["--add-subgids", nextRange(accounts, "gid"), DEFAULT_NAME]);
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`error during ${JSON.stringify(DEFAULT_NAME)} user creation: ${why}`);
  }
}

/** `100000-165535`, or the first such range above all that are given away. */
function nextRange(accounts: Accounts, kind: "uid" | "gid"): string {
  const start = Math.max(FIRST_SUBORDINATE, ...readRanges(accounts, kind).map((range) => range.start + range.count));
  return `${start}-${start + SUBORDINATE_IDS - 1}`;
}

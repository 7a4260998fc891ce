// Who the workload runs as: `name|uid[:group|gid]` against the passwd and group files of the container's own root. Pure;
// reading them is rootfs_files.ts's work. The rules are those of Docker's user package. See passwd(5), group(5).
import { UserLookupError } from "../errors.ts";
import type { Identity } from "../program/plan.ts";

export interface AccountFiles {
  /** The text of /etc/passwd; "" when there is none. */
  passwd: string;
  group: string;
}

export interface ResolvedUser extends Identity {
  home: string;
}

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

interface GroupEntry {
  name: string;
  gid: number;
  members: string[];
}

const MAX_ID = 0x7fffffff;

/** Throws UserLookupError in Docker's words. "" is root. */
export function resolveUser(user: string, groupAdd: readonly string[], files: AccountFiles): ResolvedUser {
  const [userPart = "", groupPart = ""] = splitOnce(user, ":");
  const account = findAccount(userPart, parsePasswd(files.passwd));
  const groups = parseGroup(files.group);
  const gid = groupPart === "" ? account.gid : findGroup(groupPart, groups);
  // Groups that list the user count only where no group was asked for.
  const implied =
    groupPart === "" && account.name !== ""
      ? groups.filter(({ members }) => members.includes(account.name)).map((group) => group.gid)
      : [];
  const added = groupAdd.map((group) => findGroup(group, groups));
  return { uid: account.uid, gid, groups: [...new Set([gid, ...implied, ...added])], home: account.home };
}

function findAccount(user: string, entries: readonly PasswdEntry[]): PasswdEntry {
  const wanted = user === "" ? "0" : user;
  const isMatch = ({ name, uid }: PasswdEntry): boolean =>
    user === "" ? uid === 0 : name === user || String(uid) === user;
  const found = entries.find(isMatch);
  if (found) return found;
  const uid = parseID(wanted);
  if (uid === null) throw new UserLookupError(`unable to find user ${user}: no matching entries in passwd file`);
  return { name: "", uid, gid: 0, home: "/" };
}

function findGroup(group: string, entries: readonly GroupEntry[]): number {
  const found = entries.find(({ name, gid }) => name === group || String(gid) === group);
  const gid = found?.gid ?? parseID(group);
  if (gid === null) throw new UserLookupError(`unable to find group ${group}: no matching entries in group file`);
  return gid;
}

/** A decimal ID; null for a name. Throws for a number that no ID can be. */
function parseID(text: string): number | null {
  if (!/^[+-]?\d+$/.test(text)) return null;
  const id = Number(text);
  if (id < 0 || id > MAX_ID) throw new UserLookupError(`uids and gids must be in range 0-${MAX_ID}`);
  return id;
}

/** Lines that do not parse are passed over: the file is the image's, and one bad line must not hide the rest. */
export function parsePasswd(text: string): PasswdEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , uid = "", gid = "", , home = ""] = fieldsOf(line);
    if (name === "" || !isID(uid) || !isID(gid)) return [];
    return [{ name, uid: Number(uid), gid: Number(gid), home: home === "" ? "/" : home }];
  });
}

export function parseGroup(text: string): GroupEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , gid = "", members = ""] = fieldsOf(line);
    if (name === "" || !isID(gid)) return [];
    return [{ name, gid: Number(gid), members: members.split(",").map((member) => member.trim()) }];
  });
}

function fieldsOf(line: string): string[] {
  const text = line.trim();
  return text === "" || text.startsWith("#") ? [] : text.split(":");
}

function isID(text: string): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) <= 0xfffffffe;
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

// API versions on the wire: the `/v1.NN` in front of a path, the range we serve, and the headers that tell clients.
import { invalid } from "../errors.ts";

export interface Version {
  major: number;
  minor: number;
}

export const API_VERSION = "1.55";
/** COMPAT: Docker 29 raised its own minimum and broke Traefik and testcontainers; a newer shape hurts fewer than a refusal. */
export const MIN_API_VERSION = "1.24";

const NEWEST = parseVersion(API_VERSION);
const OLDEST = parseVersion(MIN_API_VERSION);
const PREFIX = /^\/v(\d[\d.]*)(?=\/|$)/;

/** Numbers before and after the first dot; what is missing counts as 0. */
function parseVersion(text: string): Version {
  const [major = "0", minor = "0"] = text.split(".");
  return { major: Number(major), minor: Number(minor) };
}

/** The path that routes know. */
export function withoutVersion(path: string): string {
  if (path.charCodeAt(1) !== 0x76 /* v */) return path;
  return path.replace(PREFIX, "") || "/";
}

/** The version a path asks for: the newest one without a prefix. Throws `invalid` with Docker's words out of our range. */
export function versionOf(path: string): Version {
  const asked = path.charCodeAt(1) === 0x76 ? PREFIX.exec(path)?.[1] : undefined;
  if (asked === undefined) return NEWEST;
  const version = parseVersion(asked);
  if (isBelow(version, OLDEST)) {
    throw invalid(
      `client version ${asked} is too old. Minimum supported API version is ${MIN_API_VERSION}, ` +
        "please upgrade your client to a newer version",
    );
  }
  if (isBelow(NEWEST, version)) {
    throw invalid(`client version ${asked} is too new. Maximum supported API version is ${API_VERSION}`);
  }
  return version;
}

function isBelow(a: Version, b: Version): boolean {
  return a.major < b.major || (a.major === b.major && a.minor < b.minor);
}

/** On every reply, errors of the transport included. COMPAT: the CLI takes the version it speaks from Api-Version. */
export function commonHeaders(facts: { engineVersion: string; isExperimental: boolean }): Record<string, string> {
  return {
    "Api-Version": API_VERSION,
    "Docker-Experimental": String(facts.isExperimental),
    Ostype: "linux",
    Server: `Docker/${facts.engineVersion} (linux)`,
  };
}

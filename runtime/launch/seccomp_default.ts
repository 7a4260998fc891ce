// The seccomp profile of a container that asks for none, as data: seccomp_default.json holds Docker's default profile
// unchanged, in Docker's profile format (rules that depend on capabilities, architecture and kernel).
//
// The profile comes from moby (profiles/seccomp/default.json), Copyright 2013-2018 Docker, Inc. and contributors, under
// the Apache License, Version 2.0 (http://www.apache.org/licenses/LICENSE-2.0). The engine resolves it to an OCI section.
import profile from "./seccomp_default.json" with { type: "json" };

/** As parsed from JSON; the engine's own parser for profiles checks it like any other. */
export function defaultSeccompProfile(): unknown {
  return profile;
}

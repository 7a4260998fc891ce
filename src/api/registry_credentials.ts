// Registry credentials out of a request.
import type { Context } from "hono";
import type { RegistryCredentials } from "../engine/mod.ts";
import { EngineError } from "../errors.ts";
import { AuthConfig } from "../schema/system.ts";
import type { AppEnv } from "./app_env.ts";
import { check } from "./body.ts";

/**
 * The X-Registry-Auth header: base64url, padded or not, of an AuthConfig. null when it says nothing. COMPAT: one that
 * cannot be read is ignored, as under Docker: the CLI sends `{}`, others send an empty header.
 */
export function credentialsOf(c: Context<AppEnv>): RegistryCredentials | null {
  const header = c.req.header("x-registry-auth");
  if (header === undefined || header === "") return null;
  try {
    return toCredentials(check(AuthConfig, JSON.parse(Buffer.from(header, "base64url").toString("utf8"))));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof EngineError) return null;
    throw error;
  }
}

export function toCredentials(config: AuthConfig): RegistryCredentials | null {
  const { identitytoken, registrytoken } = config;
  let { username, password } = config;
  if (username === "" && config.auth !== "") {
    [username = "", password = ""] = Buffer.from(config.auth, "base64").toString("utf8").split(/:(.*)/s, 2);
  }
  if (username === "" && identitytoken === "" && registrytoken === "") return null;
  return { username, password, identityToken: identitytoken, registryToken: registrytoken };
}

// Registry credentials as clients send them: the body of POST /auth, and the X-Registry-Auth header. Source: AuthConfig in
// v1.55.yaml and in older ones.
import * as v from "valibot";
import { text } from "./common.ts";

export const AuthConfig = v.object({
  username: text(),
  password: text(),
  /** base64 of `username:password`, from clients that do not take them apart. */
  auth: text(),
  email: text(),
  serveraddress: text(),
  identitytoken: text(),
  registrytoken: text(),
});
export type AuthConfig = v.InferOutput<typeof AuthConfig>;

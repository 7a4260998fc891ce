// Routes that are younger than the oldest API version answered here.
import type { MiddlewareHandler } from "hono";
import { type AppEnv, isAtLeast } from "./app_env.ts";
import { pageNotFound } from "./error_response.ts";

/** COMPAT: below version 1.`minor` the route does not exist, and clients tell that by its 404. */
export function since(minor: number): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    if (!isAtLeast(c.get("apiVersion"), minor)) return pageNotFound();
    await next();
  };
}

// What every handler finds in its Hono context: the hands of the transport, and the API version of the request.
import type { ByteStream } from "../engine/mod.ts";

/** The Engine API version a request speaks: from `/v1.NN`, or the newest one when the path has no prefix. */
export interface ApiVersion {
  major: number;
  minor: number;
}

/** What the transport lends to a request. In tests `app.request(path, init, bindings)` takes a small fake. */
export interface HttpBindings {
  /**
   * Takes the connection out of HTTP: sends this head, then both ways are raw bytes. A body with a content-length is read
   * by the handler first. The handler's own Response is ignored from then on.
   */
  hijack(status: 101 | 200, headers: Record<string, string>): Promise<ByteStream>;
}

export interface AppEnv {
  Bindings: HttpBindings;
  Variables: { apiVersion: ApiVersion };
}

/** Whether a request speaks version 1.`minor` or a newer one: what views branch on. */
export function isAtLeast(version: ApiVersion, minor: number): boolean {
  return version.major > 1 || version.minor >= minor;
}

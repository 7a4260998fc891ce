// A request head: bytes to a checked value (RFC 9112). Pure. Strict where leniency lets two readers of one connection
// disagree about where a request ends: bare LF, folded lines, both framings at once, unknown codings are all refused.
import type { Buffer } from "node:buffer";
import { MAX_HEADER_LINES } from "../limits.ts";

/** A request the transport itself refuses, or a body that broke off. The connection ends after the answer. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export interface RequestHead {
  method: string;
  /** Path and query, as sent. */
  target: string;
  /** HTTP/1.0 or HTTP/1.1. */
  minorVersion: 0 | 1;
  headers: Headers;
  bodyLength: number | "chunked";
  isKeptAlive: boolean;
  expectsContinue: boolean;
}

const REQUEST_LINE = /^([A-Z]+) ([\x21\x22\x24-\x7e\x80-\xff]+) HTTP\/1\.([01])$/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;
const DIGITS = /^\d{1,15}$/;
const SCHEME_AND_HOST = /^https?:\/\/[^/?]*/i;

/** `bytes` is a head without its closing empty line. Throws HttpError. */
export function parseHead(bytes: Buffer): RequestHead {
  const lines = bytes.toString("latin1").split("\r\n");
  if (lines.length > MAX_HEADER_LINES) throw new HttpError(431, `more than ${MAX_HEADER_LINES} header lines`);
  const [method, target, minorVersion] = parseRequestLine(lines[0] ?? "");
  const headers = new Headers();
  const framing = new Framing();
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i] ?? "";
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = trimBlanks(line.slice(colon + 1));
    // A folded line has no name, and a bare LF or CR is a control character in a name or value.
    if (colon <= 0 || !TOKEN.test(name) || CONTROL.test(value)) throw new HttpError(400, "malformed header line");
    framing.note(name, value);
    headers.append(name, value);
  }
  return { method, target, minorVersion, headers, ...framing.conclude(minorVersion) };
}

function parseRequestLine(line: string): [method: string, target: string, minorVersion: 0 | 1] {
  const [, method, target, minor] = REQUEST_LINE.exec(line) ?? [];
  if (method === undefined || target === undefined) {
    if (/ HTTP\/[2-9]\.\d$/.test(line)) throw new HttpError(505, "only HTTP/1.0 and HTTP/1.1 are served");
    throw new HttpError(400, "malformed request line");
  }
  // The Fetch standard has no Request for these, and no route serves them.
  if (method === "CONNECT" || method === "TRACE" || method === "TRACK") throw new HttpError(404, "page not found");
  return [method, toPath(target), minor === "1" ? 1 : 0];
}

/** `*` and the absolute form to a path; bytes over 0x7f are UTF-8. */
function toPath(target: string): string {
  if (target === "*") return "/";
  const path = target.replace(SCHEME_AND_HOST, "");
  if (!path.startsWith("/")) {
    if (path === "" || path.startsWith("?")) return `/${path}`;
    throw new HttpError(400, "malformed request target");
  }
  return /[\x80-\xff]/.test(path)
    ? new TextDecoder().decode(Uint8Array.from(path, (each) => each.charCodeAt(0)))
    : path;
}

/** Only blank and tab surround a value; trim() would take more. */
function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** The headers that say where the request ends and what becomes of the connection. */
class Framing {
  #hosts = 0;
  #length: string | null = null;
  #isChunked = false;
  #connection = "";
  #expectsContinue = false;

  note(name: string, value: string): void {
    switch (name) {
      case "host":
        this.#hosts++;
        break;
      case "connection":
        this.#connection += `,${value.toLowerCase()}`;
        break;
      case "content-length":
        if (!DIGITS.test(value)) throw new HttpError(400, "malformed Content-Length");
        if (this.#length !== null && this.#length !== value) throw new HttpError(400, "two different Content-Lengths");
        this.#length = value;
        break;
      case "transfer-encoding":
        if (this.#isChunked || value.toLowerCase() !== "chunked") {
          throw new HttpError(501, "the only Transfer-Encoding served is chunked");
        }
        this.#isChunked = true;
        break;
      case "expect":
        if (value.toLowerCase() !== "100-continue") throw new HttpError(417, "the only Expect served is 100-continue");
        this.#expectsContinue = true;
        break;
    }
  }

  conclude(minorVersion: 0 | 1): Pick<RequestHead, "bodyLength" | "isKeptAlive" | "expectsContinue"> {
    if (this.#isChunked && this.#length !== null) {
      throw new HttpError(400, "both Content-Length and Transfer-Encoding");
    }
    if (this.#isChunked && minorVersion === 0) throw new HttpError(400, "Transfer-Encoding in HTTP/1.0");
    if (minorVersion === 1 && this.#hosts !== 1) throw new HttpError(400, "missing or repeated Host");
    return {
      bodyLength: this.#isChunked ? "chunked" : Number(this.#length ?? 0),
      isKeptAlive: minorVersion === 1 ? !this.#asksFor("close") : this.#asksFor("keep-alive"),
      expectsContinue: this.#expectsContinue && minorVersion === 1,
    };
  }

  #asksFor(option: string): boolean {
    return this.#connection.split(",").some((each) => each.trim() === option);
  }
}

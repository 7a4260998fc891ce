// src/http/request_head.ts: which heads are taken, and what each malformed one is answered.
import { describe, expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import { HttpError, parseHead } from "../../../src/http/request_head.ts";

const parse = (...lines: string[]) => parseHead(Buffer.from(lines.join("\r\n"), "latin1"));
const status = (...lines: string[]): number => {
  try {
    parse(...lines);
    return 200;
  } catch (error) {
    if (error instanceof HttpError) return error.status;
    throw error;
  }
};

describe("parseHead", () => {
  test("reads method, target, headers and framing", () => {
    const head = parse("POST /v1.50/images/load?quiet=1 HTTP/1.1", "Host: d", "X-A:  b\t", "Content-Length: 12");
    expect(head).toMatchObject({
      method: "POST",
      target: "/v1.50/images/load?quiet=1",
      minorVersion: 1,
      bodyLength: 12,
    });
    expect(head.headers.get("x-a")).toBe("b");
    expect(head.isKeptAlive).toBe(true);
  });

  test("keeps a connection by HTTP/1.1 unless told, and one of HTTP/1.0 only when told", () => {
    expect(parse("GET / HTTP/1.1", "Host: d", "Connection: foo, Close").isKeptAlive).toBe(false);
    expect(parse("GET / HTTP/1.0").isKeptAlive).toBe(false);
    expect(parse("GET / HTTP/1.0", "Connection: keep-alive").isKeptAlive).toBe(true);
  });

  test("takes the absolute form and the asterisk for paths", () => {
    expect(parse("GET http://api.moby.localhost/_ping?x=1 HTTP/1.1", "Host: d").target).toBe("/_ping?x=1");
    expect(parse("GET http://d HTTP/1.1", "Host: d").target).toBe("/");
    expect(parse("OPTIONS * HTTP/1.1", "Host: d").target).toBe("/");
  });

  test("reads unescaped bytes of a target as UTF-8", () => {
    const line = Buffer.from("GET /containers/json?x=é HTTP/1.1\r\nHost: d", "utf8");
    expect(parseHead(line).target).toBe("/containers/json?x=é");
  });

  test("an equal second Content-Length is one, a chunked body is chunked", () => {
    expect(parse("POST / HTTP/1.1", "Host: d", "Content-Length: 3", "Content-Length: 3").bodyLength).toBe(3);
    expect(parse("POST / HTTP/1.1", "Host: d", "Transfer-Encoding: Chunked").bodyLength).toBe("chunked");
  });

  const host = "Host: d";
  const refused: [string, number, string[]][] = [
    ["lower-case method", 400, ["get / HTTP/1.1", host]],
    ["no version", 400, ["GET /", host]],
    ["two blanks", 400, ["GET  / HTTP/1.1", host]],
    ["a blank in the target", 400, ["GET /a b HTTP/1.1", host]],
    ["a fragment in the target", 400, ["GET /a#b HTTP/1.1", host]],
    ["a target that is no path", 400, ["GET containers HTTP/1.1", host]],
    ["HTTP/2", 505, ["PRI * HTTP/2.0"]],
    ["HTTP/0.9", 400, ["GET / HTTP/0.9", host]],
    ["CONNECT", 404, ["CONNECT /x HTTP/1.1", host]],
    ["TRACE", 404, ["TRACE / HTTP/1.1", host]],
    ["no Host on 1.1", 400, ["GET / HTTP/1.1"]],
    ["two Hosts", 400, ["GET / HTTP/1.1", host, host]],
    ["both framings", 400, ["POST / HTTP/1.1", host, "Content-Length: 1", "Transfer-Encoding: chunked"]],
    ["two different lengths", 400, ["POST / HTTP/1.1", host, "Content-Length: 1", "Content-Length: 2"]],
    ["a negative length", 400, ["POST / HTTP/1.1", host, "Content-Length: -1"]],
    ["a length with a sign", 400, ["POST / HTTP/1.1", host, "Content-Length: +1"]],
    ["a list of lengths", 400, ["POST / HTTP/1.1", host, "Content-Length: 1, 1"]],
    ["an enormous length", 400, ["POST / HTTP/1.1", host, "Content-Length: 99999999999999999999"]],
    ["an empty length", 400, ["POST / HTTP/1.1", host, "Content-Length:"]],
    ["another coding", 501, ["POST / HTTP/1.1", host, "Transfer-Encoding: gzip, chunked"]],
    ["chunked twice", 501, ["POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]],
    ["chunked in HTTP/1.0", 400, ["POST / HTTP/1.0", "Transfer-Encoding: chunked"]],
    ["a folded line", 400, ["GET / HTTP/1.1", host, "X-A: b", " c"]],
    ["a blank before the colon", 400, ["GET / HTTP/1.1", host, "X-A : b"]],
    ["no colon", 400, ["GET / HTTP/1.1", host, "X-A"]],
    ["no name", 400, ["GET / HTTP/1.1", host, ": b"]],
    ["a NUL in a value", 400, ["GET / HTTP/1.1", host, "X-A: a\0b"]],
    ["a bare LF in a value", 400, ["GET / HTTP/1.1", host, "X-A: a\nX-B: b"]],
    ["a bare CR in a value", 400, ["GET / HTTP/1.1", host, "X-A: a\rb"]],
    ["another expectation", 417, ["POST / HTTP/1.1", host, "Expect: magic"]],
    ["too many lines", 431, ["GET / HTTP/1.1", host, ...Array.from({ length: 600 }, (_, i) => `X-${i}: 1`)]],
  ];
  for (const [what, expected, lines] of refused) {
    test(`${what} is refused with ${expected}`, () => expect(status(...lines)).toBe(expected));
  }
});

// DNS messages: what real clients send, what no client should, and random bytes.
import { describe, expect, test } from "bun:test";
import {
  type Answer,
  encodeAnswer,
  encodeName,
  encodeRefusal,
  fit,
  isReplyTo,
  parseQuery,
  type Query,
  RCODE,
  reversedAddress,
  TYPE,
  withID,
} from "../../../../runtime/dns/message.ts";

/** A query as clients make it; `udpBytes`: with EDNS. */
function query(name: string, type: number, udpBytes = 0): Uint8Array<ArrayBuffer> {
  const question = encodeName(name) ?? Uint8Array.of(0);
  const header = [0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, udpBytes > 0 ? 1 : 0];
  const opt = udpBytes > 0 ? [0, 0, TYPE.OPT, udpBytes >> 8, udpBytes & 0xff, 0, 0, 0, 0, 0, 0] : [];
  return Uint8Array.from([...header, ...question, type >> 8, type & 0xff, 0, 1, ...opt]);
}

function parsed(bytes: Uint8Array): Query {
  const found = parseQuery(bytes);
  if (found === null || !("name" in found)) throw new Error("not a query");
  return found;
}

const address = (last: number): Answer => ({ type: TYPE.A, ttlSec: 600, data: Uint8Array.of(10, 0, 0, last) });

describe("a query", () => {
  test("tells name, type and what the client takes", () => {
    const bytes = query("Web.MyNet", TYPE.A);
    expect(parsed(bytes)).toEqual({
      id: 0xabcd,
      name: "web.mynet",
      type: 1,
      class: 1,
      questionEnd: bytes.length,
      udpBytes: 512,
      hasEDNS: false,
    });
    expect(parsed(query("web", TYPE.AAAA, 1232))).toMatchObject({ udpBytes: 1232, hasEDNS: true });
    expect(parsed(query("web", TYPE.AAAA, 65_000)).udpBytes).toBe(4096);
    expect(parsed(query("web", TYPE.AAAA, 100)).udpBytes).toBe(512);
  });

  test("for the root has no name", () => {
    expect(parsed(Uint8Array.of(0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1)).name).toBe("");
  });

  test("cannot pass a dot inside a label for one between labels", () => {
    const bytes = Uint8Array.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 0x61, 0x2e, 0x62, 0, 0, 1, 0, 1]);
    expect(parsed(bytes).name).toBe("a\\.b");
  });

  test("of another kind or form is refused, and an answer is left alone", () => {
    const good = query("web", TYPE.A);
    const changed = (at: number, value: number) => good.map((byte, index) => (index === at ? value : byte));
    expect(parseQuery(changed(2, 0x81))).toBeNull();
    expect(parseQuery(good.subarray(0, 11))).toBeNull();
    expect(parseQuery(changed(2, 0x29))).toEqual({ rcode: RCODE.NOTIMP });
    expect(parseQuery(changed(5, 2))).toEqual({ rcode: RCODE.FORMERR });
    expect(parseQuery(changed(5, 0))).toEqual({ rcode: RCODE.FORMERR });
    // A compression pointer, a label past the end, no end at all.
    expect(parseQuery(changed(12, 0xc0))).toEqual({ rcode: RCODE.FORMERR });
    expect(parseQuery(changed(12, 63))).toEqual({ rcode: RCODE.FORMERR });
    expect(parseQuery(good.subarray(0, good.length - 3))).toEqual({ rcode: RCODE.FORMERR });
    const refusal = encodeRefusal(changed(2, 0x29), RCODE.NOTIMP);
    expect(refusal.subarray(0, 4)).toEqual(Uint8Array.of(0xab, 0xcd, 0xa9, 0x84));
  });

  test("of random bytes harms nothing", () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return seed % below;
    };
    for (let round = 0; round < 20_000; round++) {
      const base = round % 2 === 0 ? query("web.mynet", TYPE.A, 1232) : new Uint8Array(random(80));
      const bytes = base.slice(0, base.length - random(4));
      for (let change = random(8); change > 0 && bytes.length > 0; change--) bytes[random(bytes.length)] = random(256);
      const found = parseQuery(bytes);
      if (found === null) continue;
      if (!("name" in found)) {
        expect(encodeRefusal(bytes, found.rcode).length).toBe(12);
        continue;
      }
      const answer = encodeAnswer(bytes, found, [address(1), address(2)], { rcode: 0, maxBytes: found.udpBytes });
      expect(answer.length).toBeLessThanOrEqual(4096);
      expect(isReplyTo(answer, found.id, bytes, found.questionEnd)).toBe(true);
      expect(isReplyTo(bytes, found.id, answer, answer.length)).toBe(false);
    }
  });
});

describe("an answer", () => {
  test("repeats the question, then has its records", () => {
    const bytes = query("Web", TYPE.A);
    const answer = encodeAnswer(bytes, parsed(bytes), [address(7)], { rcode: RCODE.NOERROR, maxBytes: 512 });
    expect(answer.subarray(12, bytes.length)).toEqual(bytes.subarray(12));
    expect([...answer.subarray(0, 12)]).toEqual([0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    expect([...answer.subarray(bytes.length)]).toEqual([0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 0, 0, 7]);
  });

  test("that is too long for the client is cut between records and marked", () => {
    const many = Array.from({ length: 200 }, (_, index) => address(index & 0xff));
    const bytes = query("web", TYPE.A);
    const cut = encodeAnswer(bytes, parsed(bytes), many, { rcode: 0, maxBytes: 512 });
    expect(cut.length).toBeLessThanOrEqual(512);
    expect(cut[2] ?? 0).toBe(0x83);
    expect(((cut[6] ?? 0) << 8) | (cut[7] ?? 0)).toBe(30);
    expect(encodeAnswer(bytes, parsed(bytes), many, { rcode: 0, maxBytes: 65_535 })[2]).toBe(0x81);
  });

  test("to a client with EDNS says so too", () => {
    const bytes = query("web", TYPE.A, 1232);
    const answer = encodeAnswer(bytes, parsed(bytes), [], { rcode: RCODE.SERVFAIL, maxBytes: 1232 });
    expect([...answer.subarray(0, 12)]).toEqual([0xab, 0xcd, 0x81, 0x82, 0, 1, 0, 0, 0, 0, 0, 1]);
    expect([...answer.subarray(answer.length - 11)]).toEqual([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
  });

  test("of a server is taken for this question under this ID alone", () => {
    const asked = query("web.example", TYPE.A);
    const { questionEnd } = parsed(asked);
    const reply = withID(encodeAnswer(asked, parsed(asked), [address(1)], { rcode: 0, maxBytes: 512 }), 77);
    expect(isReplyTo(reply, 77, asked, questionEnd)).toBe(true);
    expect(isReplyTo(reply, 78, asked, questionEnd)).toBe(false);
    expect(isReplyTo(reply, 77, query("web.example", TYPE.AAAA), questionEnd)).toBe(false);
    expect(isReplyTo(reply, 77, query("wet.example", TYPE.A), questionEnd)).toBe(false);
    expect(isReplyTo(reply, 77, query("WEB.example", TYPE.A), questionEnd)).toBe(true);
    expect(isReplyTo(withID(asked, 77), 77, asked, questionEnd)).toBe(false);
  });

  test("of a server that is longer than the client takes becomes a question marked as cut", () => {
    const asked = query("web", TYPE.A);
    const many = Array.from({ length: 100 }, (_, index) => address(index));
    const reply = encodeAnswer(asked, parsed(asked), many, { rcode: 0, maxBytes: 4096 });
    expect(fit(reply, asked.length, 4096)).toBe(reply);
    const cut = fit(reply, asked.length, 512);
    expect(cut.length).toBe(asked.length);
    expect([...cut.subarray(2, 12)]).toEqual([0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
  });
});

test("names are encoded by label; what no name can be is not", () => {
  expect(encodeName("a.bc")).toEqual(Uint8Array.of(1, 0x61, 2, 0x62, 0x63, 0));
  for (const bad of ["", "a..b", "x".repeat(64), `${"x".repeat(60)}.`.repeat(5)]) expect(encodeName(bad)).toBeNull();
});

test("reversed names are addresses of either family", () => {
  expect(reversedAddress("2.0.18.172.in-addr.arpa")).toBe("172.18.0.2");
  expect(reversedAddress(`1.${"0.".repeat(29)}d.f.ip6.arpa`)).toBe("fd00:0000:0000:0000:0000:0000:0000:0001");
  for (const other of ["2.0.18.in-addr.arpa", "x.2.0.18.172.in-addr.arpa", "web"]) {
    expect(reversedAddress(other)).toBeNull();
  }
});

// DNS messages: a query to what it asks, an answer to bytes. Only what a resolver between containers needs; everything
// else passes through it untouched. Pure. RFC 1035 for the form, RFC 6891 for EDNS, RFC 3596 for AAAA.
//
//   u16 id | u16 flags | u16 questions, answers, authorities, additionals | question | records
//   flags:  QR 0x8000 | opcode 0x7800 | AA 0x0400 | TC 0x0200 | RD 0x0100 | RA 0x0080 | rcode 0x000f
//   record: name | u16 type | u16 class | u32 ttl | u16 length | data
//
// INVARIANT: bytes come from strangers. No function here throws on them, reads beyond them, or follows a pointer.
export const TYPE = { A: 1, PTR: 12, AAAA: 28, OPT: 41 } as const;
export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;
export const CLASS_IN = 1;

const HEADER_BYTES = 12;
const QR = 0x8000,
  TC = 0x0200,
  RD = 0x0100,
  RA = 0x0080;
const OPCODE_MASK = 0x7800;
const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;
/** What every client takes over UDP. */
const UDP_BYTES = 512;
/** The most we send in one datagram: fits the loopback, and is what servers commonly allow. */
const UDP_BYTES_MAX = 4096;
/** The most of a message over TCP: its length is a u16. */
export const MESSAGE_BYTES_MAX = 65_535;
/** Additional records looked through for the OPT one: real queries have one, or two when signed. */
const MAX_ADDITIONALS = 16;
const OPT_BYTES = 11;

export interface Query {
  id: number;
  /** Lower case, without the last dot; "" is the root. A dot inside a label is written `\.`, so that it matches nothing. */
  name: string;
  type: number;
  class: number;
  /** Where the question ends: what an answer repeats. */
  questionEnd: number;
  /** The most that the client takes in one datagram. */
  udpBytes: number;
  hasEDNS: boolean;
}

/** A query; or the code to refuse it with; or null for what deserves no answer. */
export function parseQuery(bytes: Uint8Array): Query | { rcode: number } | null {
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const flags = view.getUint16(2);
  // An answer is no question: two resolvers must not talk to each other for ever.
  if ((flags & QR) !== 0) return null;
  if ((flags & OPCODE_MASK) !== 0) return { rcode: RCODE.NOTIMP };
  if (view.getUint16(4) !== 1) return { rcode: RCODE.FORMERR };
  const question = readName(bytes, HEADER_BYTES);
  if (question === null || question.end + 4 > bytes.length) return { rcode: RCODE.FORMERR };
  const records = view.getUint16(6) + view.getUint16(8);
  const udpBytes = records === 0 ? ednsBytes(bytes, question.end + 4, view.getUint16(10)) : null;
  return {
    id: view.getUint16(0),
    name: question.name,
    type: view.getUint16(question.end),
    class: view.getUint16(question.end + 2),
    questionEnd: question.end + 4,
    udpBytes: Math.min(Math.max(udpBytes ?? UDP_BYTES, UDP_BYTES), UDP_BYTES_MAX),
    hasEDNS: udpBytes !== null,
  };
}

/** null for a name that is cut off, too long, or compressed: in a question there is nothing to point at. */
function readName(bytes: Uint8Array, start: number): { name: string; end: number } | null {
  const labels: string[] = [];
  for (let at = start; at < bytes.length && at - start < MAX_NAME_BYTES;) {
    const length = bytes[at] ?? 0;
    if (length === 0) return { name: labels.join("."), end: at + 1 };
    if (length > MAX_LABEL_BYTES || at + 1 + length > bytes.length) return null;
    let label = "";
    for (const byte of bytes.subarray(at + 1, at + 1 + length)) label += character(byte);
    labels.push(label);
    at += 1 + length;
  }
  return null;
}

function character(byte: number): string {
  const text = String.fromCharCode(byte);
  if (text === "." || text === "\\") return `\\${text}`;
  return byte >= 0x41 && byte <= 0x5a ? text.toLowerCase() : text;
}

/** The size that the OPT record among the additional ones tells; null when there is none, or they make no sense. */
function ednsBytes(bytes: Uint8Array, start: number, count: number): number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = start, left = Math.min(count, MAX_ADDITIONALS); left > 0; left--) {
    const name = skipName(bytes, at);
    if (name === null || name + 10 > bytes.length) return null;
    if (view.getUint16(name) === TYPE.OPT) return view.getUint16(name + 2);
    at = name + 10 + view.getUint16(name + 8);
  }
  return null;
}

function skipName(bytes: Uint8Array, start: number): number | null {
  for (let at = start; at < bytes.length;) {
    const length = bytes[at] ?? 0;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    if (length > MAX_LABEL_BYTES) return null;
    at += 1 + length;
  }
  return null;
}

export interface Answer {
  type: number;
  ttlSec: number;
  data: Uint8Array;
}

/**
 * An answer to a parsed query, of at most `maxBytes`: records that do not fit are left out and the message is marked as cut,
 * so that the client asks again by TCP.
 */
export function encodeAnswer(
  queryBytes: Uint8Array,
  query: Query,
  answers: readonly Answer[],
  options: { rcode: number; maxBytes: number },
): Uint8Array<ArrayBuffer> {
  const room = options.maxBytes - (query.hasEDNS ? OPT_BYTES : 0);
  let size = query.questionEnd;
  let fitting = 0;
  for (const { data } of answers) {
    if (size + RECORD_BYTES + data.length > room) break;
    size += RECORD_BYTES + data.length;
    fitting++;
  }
  const bytes = new Uint8Array(new ArrayBuffer(size + (query.hasEDNS ? OPT_BYTES : 0)));
  const view = new DataView(bytes.buffer);
  bytes.set(queryBytes.subarray(0, query.questionEnd));
  const flags = new DataView(queryBytes.buffer, queryBytes.byteOffset).getUint16(2);
  view.setUint16(2, QR | RA | (flags & RD) | (fitting < answers.length ? TC : 0) | options.rcode);
  view.setUint16(6, fitting);
  view.setUint16(8, 0);
  view.setUint16(10, query.hasEDNS ? 1 : 0);
  let at = query.questionEnd;
  for (const { type, ttlSec, data } of answers.slice(0, fitting)) {
    view.setUint16(at, NAME_OF_QUESTION);
    view.setUint16(at + 2, type);
    view.setUint16(at + 4, CLASS_IN);
    view.setUint32(at + 6, ttlSec);
    view.setUint16(at + 10, data.length);
    bytes.set(data, at + RECORD_BYTES);
    at += RECORD_BYTES + data.length;
  }
  if (query.hasEDNS) {
    // The root's name (0), then the type; the class field tells our size; the rest is zero.
    view.setUint16(at + 1, TYPE.OPT);
    view.setUint16(at + 3, UDP_BYTES_MAX);
  }
  return bytes;
}

/** A pointer to byte 12, where the question's name stands. */
const NAME_OF_QUESTION = 0xc000 | HEADER_BYTES;
const RECORD_BYTES = 12;

/** The answer to what could not be parsed: its header alone. */
export function encodeRefusal(queryBytes: Uint8Array, rcode: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES);
  bytes.set(queryBytes.subarray(0, 4));
  const view = new DataView(bytes.buffer);
  view.setUint16(2, QR | RA | (view.getUint16(2) & (OPCODE_MASK | RD)) | rcode);
  return bytes;
}

/** A host name as a record holds it. null: too long, or with an empty label. */
export function encodeName(name: string): Uint8Array | null {
  const bytes: number[] = [];
  for (const label of name.split(".")) {
    const encoded = new TextEncoder().encode(label);
    if (encoded.length === 0 || encoded.length > MAX_LABEL_BYTES) return null;
    bytes.push(encoded.length, ...encoded);
  }
  bytes.push(0);
  return bytes.length > MAX_NAME_BYTES ? null : Uint8Array.from(bytes);
}

/** Whether a message from an upstream server answers this very question, under this ID. */
export function isReplyTo(reply: Uint8Array, id: number, queryBytes: Uint8Array, questionEnd: number): boolean {
  if (reply.length < HEADER_BYTES) return false;
  const view = new DataView(reply.buffer, reply.byteOffset, reply.byteLength);
  if (view.getUint16(0) !== id || (view.getUint16(2) & QR) === 0) return false;
  // A server that could not read the question need not repeat it.
  if (view.getUint16(4) === 0) return (view.getUint16(2) & 0xf) !== RCODE.NOERROR;
  if (view.getUint16(4) !== 1 || reply.length < questionEnd) return false;
  for (let at = HEADER_BYTES; at < questionEnd; at++) {
    // A server may write the name in letters of its own case.
    if (lowerCase(reply[at] ?? 0) !== lowerCase(queryBytes[at] ?? 0)) return false;
  }
  return true;
}

function lowerCase(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

export function rcodeOf(message: Uint8Array): number {
  return (message[3] ?? 0) & 0xf;
}

/** A copy under another ID. */
export function withID(message: Uint8Array, id: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(message);
  copy[0] = id >> 8;
  copy[1] = id & 0xff;
  return copy;
}

/** A server's reply for a client that takes no more than this: as it is, or its header and question, marked as cut. */
export function fit(reply: Uint8Array, questionEnd: number, maxBytes: number): Uint8Array {
  if (reply.length <= maxBytes) return reply;
  const bytes = reply.slice(0, Math.min(questionEnd, reply.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(2, view.getUint16(2) | TC);
  for (const at of [6, 8, 10]) view.setUint16(at, 0);
  return bytes;
}

/** `4.3.2.1.in-addr.arpa` or the 32 nibbles below ip6.arpa, as text of the address. null for any other name. */
export function reversedAddress(name: string): string | null {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (v4) return v4.slice(1).reverse().join(".");
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name);
  if (!v6) return null;
  const digits = (v6[1] ?? "").split(".").reverse().join("");
  return (digits.match(/.{4}/g) ?? []).join(":");
}

// The inner loops of the json-file format, sixteen bytes at a time: lines to records and records to lines, at several GB/s.
// What they do not know (a line beyond 16 KiB, invalid UTF-8, somebody else's JSON) they leave to json_encode.ts and
// json_decode.ts, one record at a time. Both work in a memory of their own that all logs share: valid within one turn of the event loop.
//
//   0        results: where output ends, why it stopped
//   16       the last record's end: the template of encode()
//   0x30000  the attributes that decode() passes over
//   0x40000  input, up to INPUT_BYTES
//   0xd0000  output
import { MAX_RECORD_BYTES } from "./lines.ts";
import { TIME_TEXT_BYTES } from "./time_text.ts";
import {
  add,
  and,
  assemble,
  bitmask,
  block,
  branch,
  branchIf,
  type Code,
  ctz,
  eq,
  eqBytes,
  geU,
  get,
  giveBack,
  gtU,
  i32,
  load32,
  load8,
  loadVector,
  loop,
  ltBytes,
  ltU,
  ne,
  not,
  or,
  orVector,
  select,
  set,
  shl,
  shrU,
  splat,
  store16,
  store32,
  store8,
  storeVector,
  sub,
  tee,
  when,
} from "./wasm.ts";

const TEMPLATE_AT = 16;
const ATTRIBUTES_AT = 0x30000;
const INPUT_AT = 0x40000;
const OUTPUT_AT = 0xd0000;
const MEMORY_BYTES = 0x170000;
/** A read of the stdio plane is 256 KiB, one of a log file up to 512 KiB. The loops look sixteen bytes ahead. */
export const INPUT_BYTES = 512 << 10;
/** What a template or attributes may have. */
export const TEMPLATE_BYTES = 128 << 10;
export const ATTRIBUTES_BYTES = 60 << 10;

const NEWLINE = 0x0a,
  QUOTE = 0x22,
  BACKSLASH = 0x5c;

/** Why decode() stopped before the end. */
export const STOP = { end: 0, unknown: 1, otherStream: 2, pastUntil: 3 } as const;

export interface JsonScan {
  /** Where encode() and decode() put what they make, and json_record.ts its own records. */
  readonly output: Uint8Array;
  /** The end of each record. */
  readonly template: Uint8Array;
  readonly input: Uint8Array;
  /** `"attrs":{…},` */
  readonly attributes: Uint8Array;
  /** Records for the lines in input [from, to), which ends with a newline. */
  encode(from: number, to: number, how: EncodeHow): Encoded;
  /** Lines for the records in input [from, to), which ends with a newline. */
  decode(from: number, to: number, what: DecodeWhat): Decoded;
}

interface EncodeHow {
  /** Bytes of output that are in use: the records come behind them. */
  used: number;
  /** No record begins here in output or beyond. */
  stopAt: number;
  templateBytes: number;
  /** Where the nine digits end in the template. Its time is the next record's, and counts on with each. */
  timeEnd: number;
  /** The input is valid and has neither U+2028 nor U+2029. */
  isUtf8: boolean;
}

interface Encoded {
  /** Up to here input is in output. */
  taken: number;
  used: number;
  records: number;
}

/** What of the records is wanted; see LogRead. */
export interface DecodeSelection {
  stdout: boolean;
  stderr: boolean;
  timestamps: boolean;
  /** Each record behind a head of eight bytes; otherwise it stops where the other stream begins. */
  isFramed: boolean;
  /** Thirty bytes, or null. */
  since: Uint8Array | null;
  until: Uint8Array | null;
}
interface DecodeWhat extends DecodeSelection {
  attributesBytes: number;
}

interface Decoded {
  taken: number;
  outputBytes: number;
  /** Of unframed output. */
  stream: 1 | 2;
  stop: number;
}

const WANTS_STDOUT = 1,
  WANTS_STDERR = 2,
  WANTS_TIME = 4,
  IS_FRAMED = 8,
  HAS_SINCE = 16,
  HAS_UNTIL = 32;
const SINCE_AT = ATTRIBUTES_AT + ATTRIBUTES_BYTES;
const UNTIL_AT = SINCE_AT + 64;

/** Compiles it: a millisecond, so at the first log. */
export function createJsonScan(): JsonScan {
  const module = new WebAssembly.Module(assemble([encodeFunction(), decodeFunction()], MEMORY_BYTES >> 16));
  const { encode, decode, memory } = new WebAssembly.Instance(module).exports;
  if (!(memory instanceof WebAssembly.Memory) || !isFunction(encode) || !isFunction(decode)) {
    throw new TypeError("the scanner's module exports something else");
  }
  const { buffer } = memory;
  const results = new Uint32Array(buffer, 0, 4);
  const since = new Uint8Array(buffer, SINCE_AT, TIME_TEXT_BYTES);
  const until = new Uint8Array(buffer, UNTIL_AT, TIME_TEXT_BYTES);
  const result = (index: number): number => results[index] ?? 0;
  return {
    output: new Uint8Array(buffer, OUTPUT_AT),
    template: new Uint8Array(buffer, TEMPLATE_AT, TEMPLATE_BYTES),
    input: new Uint8Array(buffer, INPUT_AT, INPUT_BYTES),
    attributes: new Uint8Array(buffer, ATTRIBUTES_AT, ATTRIBUTES_BYTES),
    encode(from, to, { isUtf8, stopAt, templateBytes, timeEnd, used }): Encoded {
      const taken = encode(
        INPUT_AT + from,
        INPUT_AT + to,
        OUTPUT_AT + used,
        OUTPUT_AT + stopAt,
        templateBytes,
        TEMPLATE_AT + timeEnd,
        isUtf8 ? 0 : 0xffff,
      );
      return { taken: taken - INPUT_AT, used: result(0) - OUTPUT_AT, records: result(1) };
    },
    decode(from, to, what): Decoded {
      if (what.since) since.set(what.since);
      if (what.until) until.set(what.until);
      const flags =
        (what.stdout ? WANTS_STDOUT : 0) |
        (what.stderr ? WANTS_STDERR : 0) |
        (what.timestamps ? WANTS_TIME : 0) |
        (what.isFramed ? IS_FRAMED : 0) |
        (what.since ? HAS_SINCE : 0) |
        (what.until ? HAS_UNTIL : 0);
      const taken = decode(INPUT_AT + from, INPUT_AT + to, OUTPUT_AT, flags, what.attributesBytes);
      return {
        taken: taken - INPUT_AT,
        outputBytes: result(0) - OUTPUT_AT,
        stream: result(2) === 2 ? 2 : 1,
        stop: result(1),
      };
    },
  };
}

function isFunction(value: unknown): value is (...args: number[]) => number {
  return typeof value === "function";
}

/** Four characters as the number that stores them. */
function chars(text: string): number {
  return new TextEncoder().encode(text).reduce((value, byte, index) => value | (byte << (8 * index)), 0);
}

const isAnyOf = (vector: Code, bytes: readonly number[]): Code =>
  bytes.map((byte) => eqBytes(vector, splat(byte))).reduce(orVector);

const advance = (local: number, count: number | Code): Code =>
  set(local, add(get(local), typeof count === "number" ? i32(count) : count));

/** One hexadecimal digit of `value`, small letters. */
const hexDigit = (value: Code): Code => add(value, select(i32(0x57), i32(0x30), gtU(value, i32(9))));

function encodeFunction(): { name: string; parameters: number; locals: number; vectors: number; body: Code } {
  const [source, end, out, stopAt, templateLength, timeEnd, highMask] = [0, 1, 2, 3, 4, 5, 6] as const;
  const [start, outStart, mask, byte, at, records, vector] = [7, 8, 9, 10, 11, 12, 13] as const;
  const leave = [...store32(i32(0), get(outStart)), ...store32(i32(4), get(records)), ...giveBack(get(start))];
  /** Copies the template in sixteens: what lies behind its end is overwritten by the next record. */
  const copyTemplate = [
    ...set(at, i32(0)),
    ...loop(
      storeVector(add(get(out), get(at)), loadVector(get(at), TEMPLATE_AT)),
      branchIf(0, ltU(tee(at, add(get(at), i32(16))), get(templateLength))),
    ),
    ...advance(out, get(templateLength)),
  ];
  /** One nanosecond on. The caller has seen to it that nine digits are enough. */
  const tick = [
    ...set(at, get(timeEnd)),
    ...loop(
      set(at, sub(get(at), i32(1))),
      set(byte, add(load8(get(at)), i32(1))),
      when(gtU(get(byte), i32(0x39)), store8(get(at), i32(0x30)), branch(1)),
      store8(get(at), get(byte)),
    ),
  ];
  const escape = block(
    when(
      or(eq(get(byte), i32(QUOTE)), eq(get(byte), i32(BACKSLASH))),
      store16(get(out), or(i32(BACKSLASH), shl(get(byte), i32(8)))),
      advance(out, 2),
      branch(1),
    ),
    when(eq(get(byte), i32(0x0d)), store16(get(out), i32(chars("\\r"))), advance(out, 2), branch(1)),
    store32(get(out), i32(chars("\\u00"))),
    store8(get(out), hexDigit(shrU(get(byte), i32(4))), 4),
    store8(get(out), hexDigit(and(get(byte), i32(15))), 5),
    advance(out, 6),
  );
  const body = [
    ...loop(
      // A record.
      set(start, get(source)),
      set(outStart, get(out)),
      when(or(geU(get(source), get(end)), geU(get(out), get(stopAt))), leave),
      store32(get(out), i32(chars('{"lo'))),
      store32(get(out), i32(chars('g":"')), 4),
      advance(out, 8),
      loop(
        // Sixteen bytes of it.
        storeVector(get(out), tee(vector, loadVector(get(source)))),
        set(
          mask,
          or(
            bitmask(
              orVector(ltBytes(get(vector), splat(0x20)), isAnyOf(get(vector), [QUOTE, BACKSLASH, 0x3c, 0x3e, 0x26])),
            ),
            and(bitmask(get(vector)), get(highMask)),
          ),
        ),
        when(gtU(sub(get(source), get(start)), i32(MAX_RECORD_BYTES)), leave),
        when(not(get(mask)), advance(source, 16), advance(out, 16), branch(1)),
        set(at, ctz(get(mask))),
        advance(source, get(at)),
        advance(out, get(at)),
        set(byte, load8(get(source))),
        advance(source, 1),
        when(eq(get(byte), i32(NEWLINE)), [
          ...when(gtU(sub(get(source), get(start)), i32(MAX_RECORD_BYTES)), leave),
          ...copyTemplate,
          ...tick,
          ...advance(records, 1),
          ...branch(2),
        ]),
        when(geU(get(byte), i32(0x80)), leave),
        escape,
        branch(0),
      ),
    ),
    ...i32(0),
  ];
  return { name: "encode", parameters: 7, locals: 6, vectors: 1, body };
}

function decodeFunction(): { name: string; parameters: number; locals: number; vectors: number; body: Code } {
  const [source, end, out, flags, attributesLength] = [0, 1, 2, 3, 4] as const;
  const [start, outStart, text, mask, byte, at, stream, current, low, vector] = [
    5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
  ] as const;
  const leave = (why: number): Code => [
    ...store32(i32(0), get(outStart)),
    ...store32(i32(4), i32(why)),
    ...store32(i32(8), get(current)),
    ...giveBack(get(start)),
  ];
  const has = (flag: number): Code => and(get(flags), i32(flag));
  const unless = (condition: Code): Code => when(not(condition), leave(STOP.unknown));
  const isText = (local: number, offset: number, expected: string): Code => {
    const parts: Code[] = [];
    for (let index = 0; index < expected.length; index += 4) {
      const four = expected.slice(index, index + 4);
      if (four.length === 4) parts.push(eq(load32(get(local), offset + index), i32(chars(four))));
      else
        for (let each = 0; each < four.length; each++)
          parts.push(eq(load8(get(local), offset + index + each), i32(four.charCodeAt(each))));
    }
    return parts.reduce(and);
  };
  /** `low`: the first difference of thirty bytes: less than zero, zero or more, as the time is to the bound. */
  const compareTime = (bound: number): Code =>
    block(
      set(at, i32(0)),
      loop(
        set(low, sub(load8(add(get(source), get(at))), load8(get(at), bound))),
        branchIf(1, get(low)),
        branchIf(0, ltU(tee(at, add(get(at), i32(1))), i32(TIME_TEXT_BYTES))),
      ),
    );
  /** A hexadecimal digit's value in a local; leaves for what is none. */
  const readHex = (offset: number, local: number): Code => [
    ...set(local, or(load8(get(source), offset), i32(0x20))),
    ...set(local, sub(get(local), select(i32(0x57), i32(0x30), geU(get(local), i32(0x61))))),
    ...when(gtU(get(local), i32(15)), leave(STOP.unknown)),
  ];
  /** Behind a backslash, at `source`. */
  const unescape = block(
    set(byte, load8(get(source))),
    when(eq(get(byte), i32(0x6e)), store8(get(out), i32(NEWLINE)), advance(source, 1), advance(out, 1), branch(1)),
    when(eq(get(byte), i32(0x72)), store8(get(out), i32(0x0d)), advance(source, 1), advance(out, 1), branch(1)),
    when(
      or(eq(get(byte), i32(QUOTE)), eq(get(byte), i32(BACKSLASH))),
      store8(get(out), get(byte)),
      advance(source, 1),
      advance(out, 1),
      branch(1),
    ),
    // \u00XX below 0x80; others are rare.
    unless(isText(source, 0, "u00")),
    when(gtU(load8(get(source), 3), i32(0x37)), leave(STOP.unknown)),
    readHex(3, byte),
    readHex(4, low),
    store8(get(out), or(shl(get(byte), i32(4)), get(low))),
    advance(source, 5),
    advance(out, 1),
  );
  /** From the closing quote on: stream, attributes, time. */
  const rest = [
    ...unless(isText(source, 0, '","stream":"std')),
    ...set(stream, select(i32(1), select(i32(2), i32(0), isText(source, 15, 'err",')), isText(source, 15, 'out",'))),
    ...unless(get(stream)),
    ...advance(source, 20),
    ...when(
      get(attributesLength),
      set(at, i32(0)),
      loop(
        when(ne(load8(add(get(source), get(at))), load8(get(at), ATTRIBUTES_AT)), leave(STOP.unknown)),
        branchIf(0, ltU(tee(at, add(get(at), i32(1))), get(attributesLength))),
      ),
      advance(source, get(attributesLength)),
    ),
    ...unless(and(isText(source, 0, '"time":"'), isText(source, 37, 'Z"}\n'))),
    ...unless(and(eq(load8(get(source), 18), i32(0x54)), eq(load8(get(source), 27), i32(0x2e)))),
    ...advance(source, 8),
  ];
  const isLess = gtU(get(low), i32(0x7fffffff));
  const body = [
    ...set(current, i32(0)),
    ...loop(
      set(start, get(source)),
      set(outStart, get(out)),
      when(geU(get(source), get(end)), leave(STOP.end)),
      unless(isText(source, 0, '{"log":"')),
      advance(source, 8),
      when(has(IS_FRAMED), advance(out, 8)),
      when(has(WANTS_TIME), advance(out, 31)),
      set(text, get(out)),
      block(
        loop(
          storeVector(get(out), tee(vector, loadVector(get(source)))),
          set(mask, bitmask(orVector(ltBytes(get(vector), splat(0x20)), isAnyOf(get(vector), [QUOTE, BACKSLASH])))),
          when(
            not(get(mask)),
            advance(source, 16),
            advance(out, 16),
            branchIf(1, ltU(get(source), get(end))),
            leave(STOP.unknown),
          ),
          set(at, ctz(get(mask))),
          advance(source, get(at)),
          advance(out, get(at)),
          set(byte, load8(get(source))),
          branchIf(1, eq(get(byte), i32(QUOTE))),
          // A control character, or the end of the line: not ours.
          when(ne(get(byte), i32(BACKSLASH)), leave(STOP.unknown)),
          advance(source, 1),
          unescape,
          branch(0),
        ),
      ),
      // INVARIANT: nothing beyond the line was read as part of it, for a line ends with a control character.
      rest,
      when(has(HAS_UNTIL), compareTime(UNTIL_AT), when(and(not(isLess), ne(get(low), i32(0))), leave(STOP.pastUntil))),
      block(
        branchIf(0, not(and(get(flags), get(stream)))),
        when(has(HAS_SINCE), compareTime(SINCE_AT), branchIf(1, isLess)),
        when(
          not(has(IS_FRAMED)),
          when(and(ne(get(current), i32(0)), ne(get(current), get(stream))), leave(STOP.otherStream)),
        ),
        set(current, get(stream)),
        when(
          has(WANTS_TIME),
          storeVector(sub(get(text), i32(31)), loadVector(get(source))),
          // The last fourteen of thirty bytes; the space comes behind them.
          storeVector(sub(get(text), i32(17)), loadVector(get(source), 14)),
          store8(sub(get(text), i32(1)), i32(0x20)),
        ),
        when(
          has(IS_FRAMED),
          set(at, sub(get(out), add(get(outStart), i32(8)))),
          store32(get(outStart), get(stream)),
          store8(get(outStart), shrU(get(at), i32(24)), 4),
          store8(get(outStart), shrU(get(at), i32(16)), 5),
          store8(get(outStart), shrU(get(at), i32(8)), 6),
          store8(get(outStart), get(at), 7),
        ),
        set(outStart, get(out)),
      ),
      // What was passed over is written over.
      set(out, get(outStart)),
      advance(source, 33),
      branch(0),
    ),
    ...i32(0),
  ];
  return { name: "decode", parameters: 5, locals: 9, vectors: 1, body };
}

// Paths as text and back, without loss. A Linux path is bytes, mostly UTF-8; a byte that is not UTF-8 becomes the lone
// surrogate U+DC80..U+DCFF that stands for it (0xE9 is U+DCE9), and turns into that byte again on its way to the kernel.

const encoder = new TextEncoder();
const REPLACEMENT = "\uFFFD";

/** Text for bytes[start, end). */
export function decodePath(bytes: Uint8Array, start = 0, end = bytes.length): string {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start);
  const text = view.toString("utf8");
  return text.includes(REPLACEMENT) ? decodeLossless(view) : text;
}

function decodeLossless(bytes: Buffer): string {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes, at);
    text += length === 0 ? String.fromCharCode(0xdc00 + (bytes[at] ?? 0)) : bytes.toString("utf8", at, at + length);
    at += Math.max(length, 1);
  }
  return text;
}

/** Length of the well-formed UTF-8 sequence at a place, 0 for none (RFC 3629: no overlong forms, no surrogates). */
function sequenceLength(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || at + length > bytes.length) return 0;
  for (let index = 1; index < length; index++) if (((bytes[at + index] ?? 0) & 0xc0) !== 0x80) return 0;
  const second = bytes[at + 1] ?? 0;
  const isOverlong = (first === 0xe0 && second < 0xa0) || (first === 0xf0 && second < 0x90);
  const isBeyond = (first === 0xed && second > 0x9f) || (first === 0xf4 && second > 0x8f);
  return isOverlong || isBeyond ? 0 : length;
}

/** Writes a path and a NUL into `target` and returns the path's length in bytes, or -1 where it does not fit. */
export function encodePathInto(text: string, target: Uint8Array): number {
  if (!text.isWellFormed()) return encodeLosslessInto(text, target);
  const { read, written } = encoder.encodeInto(text, target);
  if (read < text.length || written >= target.length) return -1;
  target[written] = 0;
  return written;
}

function encodeLosslessInto(text: string, target: Uint8Array): number {
  const bytes = encodePath(text);
  if (bytes.length >= target.length) return -1;
  target.set(bytes);
  target[bytes.length] = 0;
  return bytes.length;
}

/** The bytes of a path. */
export function encodePath(text: string): Uint8Array {
  if (text.isWellFormed()) return encoder.encode(text);
  const parts: Uint8Array[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    parts.push(code >= 0xdc80 && code <= 0xdcff ? Uint8Array.of(code - 0xdc00) : encoder.encode(character));
  }
  return Buffer.concat(parts);
}

/**
 * A path inside an archive as the root directory sees it: no leading slash, no `.`, no doubled slashes; "" is the root
 * itself. null when `..` leads above the root.
 */
export function cleanPath(path: string): string | null {
  if (isClean(path)) return path;
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return null;
  }
  return parts.join("/");
}

const UNCLEAN = /(?:^|\/)(?:\.{0,2})(?:\/|$)/;

function isClean(path: string): boolean {
  return path !== "" && !UNCLEAN.test(path);
}

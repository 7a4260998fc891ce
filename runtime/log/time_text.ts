// Times in logs: nanoseconds since 1970 to and from RFC 3339 with nine fractional digits in UTC. Pure.

export const TIME_TEXT_BYTES = 30;
const NANO = 1_000_000_000n;

/** `2024-01-01T00:00:00.000000000Z`. */
export function toTimeText(timeNano: bigint): string {
  const nanos = ((timeNano % NANO) + NANO) % NANO;
  const seconds = Number((timeNano - nanos) / NANO);
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanos).padStart(9, "0")}Z`;
}

/** The reverse, for any number of fractional digits and any zone; null for what is no time. */
export function parseTimeText(text: string): bigint | null {
  const match = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?(Z|[+-]\d{2}:\d{2})$/.exec(text);
  const [, base, fraction, zone] = match ?? [];
  if (base === undefined || zone === undefined) return null;
  const ms = Date.parse(base + zone);
  return Number.isNaN(ms) ? null : BigInt(ms) * 1_000_000n + BigInt((fraction ?? "").padEnd(9, "0"));
}

/**
 * Reads the fixed form from bytes, quickly: the part up to the minute is remembered, since neighbours share it.
 * Returns null for anything else than the fixed form.
 */
export class TimeTextReader {
  #minute = new Uint8Array(17);
  #minuteNano = 0n;
  #hasMinute = false;

  read(bytes: Uint8Array, at: number): bigint | null {
    if (bytes.length < at + TIME_TEXT_BYTES || bytes[at + 19] !== 0x2e || bytes[at + 29] !== 0x5a) return null;
    if (!this.#sameMinute(bytes, at)) {
      const parsed = parseTimeText(`${ascii(bytes, at, 17)}00Z`);
      if (parsed === null) return null;
      this.#minute.set(bytes.subarray(at, at + 17));
      this.#minuteNano = parsed;
      this.#hasMinute = true;
    }
    const seconds = digits(bytes, at + 17, 2);
    const nanos = digits(bytes, at + 20, 9);
    if (seconds < 0 || nanos < 0) return null;
    // Below 2^53: 99 s and a fraction.
    return this.#minuteNano + BigInt(seconds * 1_000_000_000 + nanos);
  }

  #sameMinute(bytes: Uint8Array, at: number): boolean {
    if (!this.#hasMinute) return false;
    for (let index = 16; index >= 0; index--) if (bytes[at + index] !== this.#minute[index]) return false;
    return true;
  }
}

function digits(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let index = at; index < at + count; index++) {
    const digit = (bytes[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function ascii(bytes: Uint8Array, at: number, count: number): string {
  let text = "";
  for (let index = at; index < at + count; index++) text += String.fromCharCode(bytes[index] ?? 0);
  return text;
}

// Detach keys: the sequence typed in an attached terminal that ends the attachment and leaves the container alone.
// Called by attach and exec.
import { invalid } from "../errors.ts";

/** Ctrl-p, ctrl-q. */
const DEFAULT_DETACH_KEYS: Uint8Array = Uint8Array.of(16, 17);

/** More keys than anybody types. */
const MAX_KEYS = 64;
const CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_";

/** `ctrl-p,ctrl-q` or `a,ctrl-@`, keys apart by commas. Throws Docker's 400. */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === "") return DEFAULT_DETACH_KEYS;
  const keys = text.split(",").map(toByte);
  if (keys.length > MAX_KEYS || keys.includes(null)) throw invalid(`Invalid detach keys (${text}) provided`);
  return Uint8Array.from(keys, (key) => key ?? 0);
}

function toByte(key: string): number | null {
  if (key.length === 1) return key.charCodeAt(0) < 0x80 ? key.charCodeAt(0) : null;
  if (key === "DEL") return 0x7f;
  const control = key.startsWith("ctrl-") && key.length === 6 ? CONTROLS.indexOf(key.charAt(5)) : -1;
  return control < 0 ? null : control;
}

/** Takes input as it comes and says what of it goes on to the workload. */
export class DetachKeyFilter {
  /** How many keys of the sequence have been typed and held back. */
  #held = 0;
  /** For each length of a match, the longest shorter one that it ends with (Knuth, Morris and Pratt). */
  readonly #shorter: readonly number[];

  constructor(private readonly keys: Uint8Array) {
    this.#shorter = overlaps(keys);
  }

  /** `bytes`: to be passed on; `detached`: the sequence is complete, what follows it is dropped. */
  take(input: Uint8Array): { bytes: Uint8Array; detached: boolean } {
    const out = new Uint8Array(input.length + this.#held);
    let length = 0;
    for (const byte of input) {
      while (this.#held > 0 && this.keys[this.#held] !== byte) {
        const kept = this.#shorter[this.#held] ?? 0;
        // The front of what was held back cannot belong to a match any more.
        out.set(this.keys.subarray(0, this.#held - kept), length);
        length += this.#held - kept;
        this.#held = kept;
      }
      if (this.keys[this.#held] === byte) this.#held++;
      else out[length++] = byte;
      if (this.#held === this.keys.length) return { bytes: out.subarray(0, length), detached: true };
    }
    return { bytes: out.subarray(0, length), detached: false };
  }

  /** What is held back when the input ends. */
  rest(): Uint8Array {
    const rest = this.keys.subarray(0, this.#held);
    this.#held = 0;
    return rest;
  }
}

function overlaps(keys: Uint8Array): number[] {
  const table = [0, 0];
  for (let length = 2, kept = 0; length <= keys.length; length++) {
    const next = keys[length - 1];
    while (kept > 0 && keys[kept] !== next) kept = table[kept] ?? 0;
    if (keys[kept] === next) kept++;
    table[length] = kept;
  }
  return table;
}

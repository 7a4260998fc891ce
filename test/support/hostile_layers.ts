// The corpus of hostile layers: blobs that no honest builder makes, each with what must become of it. Kept as the programs
// that make them, so that one reads what is wrong with each. `refused`: unpacking fails with a plain error. `inside`: it
// may succeed, and all it writes is below its own directory. Either way nothing outside changes, and memory stays bounded.
import { gzipSync, zstdCompressSync } from "node:zlib";

export interface HostileLayer {
  name: string;
  outcome: "refused" | "inside";
  blob: () => Uint8Array;
}

interface RawEntry {
  name: string;
  /** The type flag: `0` file, `1` hard link, `2` symlink, `3` char, `4` block, `5` directory, `6` FIFO, `x` pax, `L` GNU name. */
  type?: string;
  link?: string;
  content?: string | Uint8Array;
  /** What the header says, whatever the content is. */
  size?: number | string;
  mode?: string;
  magic?: string;
  major?: string;
  minor?: string;
  prefix?: string;
  checksum?: string;
}

const BLOCK = 512;

/** One header as it is told, with its content and padding (POSIX ustar). */
function entry({ name, type = "0", link = "", content = "", magic = "ustar\x0000", ...more }: RawEntry): Uint8Array {
  const bytes = typeof content === "string" ? Buffer.from(content) : Buffer.from(content);
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, width: number): string => value.toString(8).padStart(width, "0");
  const put = (text: string, at: number): void => void header.write(text, at, "latin1");
  put(name, 0);
  put(more.mode ?? "0000755", 100);
  put("0000000", 108);
  put("0000000", 116);
  put(typeof more.size === "string" ? more.size : octal(more.size ?? bytes.length, 11), 124);
  put("00000000000", 136);
  put(type, 156);
  put(link, 157);
  put(magic, 257);
  put(more.major ?? "0000000", 329);
  put(more.minor ?? "0000000", 337);
  put(more.prefix ?? "", 345);
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(more.checksum ?? `${octal(sum, 6)}\0 `, 148);
  return Buffer.concat([header, bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)]);
}

const END = Buffer.alloc(2 * BLOCK);
const tar = (...entries: RawEntry[]): Uint8Array => Buffer.concat([...entries.map(entry), END]);

/** `27 path=../evil\n`: the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
  return `${length}${rest}`;
}
const pax = (...records: [string, string][]): RawEntry => ({
  name: "pax",
  type: "x",
  content: records.map(([key, value]) => paxRecord(key, value)).join(""),
});
const globalPax = (...records: [string, string][]): RawEntry => ({ ...pax(...records), type: "g" });
const longName = (text: string): RawEntry => ({ name: "././@LongLink", type: "L", content: `${text}\0` });
const dir = (name: string): RawEntry => ({ name, type: "5" });
const sym = (name: string, link: string): RawEntry => ({ name, type: "2", link });
const hard = (name: string, link: string): RawEntry => ({ name, type: "1", link });
const text = (name: string, content = "evil"): RawEntry => ({ name, content });

const refused = (name: string, blob: () => Uint8Array): HostileLayer => ({ name, outcome: "refused", blob });
const inside = (name: string, blob: () => Uint8Array): HostileLayer => ({ name, outcome: "inside", blob });

/** `outside` is a directory beside the layer's, reached by `../outside` and by its absolute path. */
export function hostileLayers(outside: string): HostileLayer[] {
  return [
    // ---- names that lead out
    refused("a name that climbs", () => tar(text("../outside/evil"))),
    refused("a name that climbs after a good start", () => tar(dir("a"), text("a/b/../../../outside/evil"))),
    refused("a name of dots alone", () => tar(text(".."))),
    refused("a directory that climbs", () => tar(dir("../outside/d"))),
    refused("a symlink whose own name climbs", () => tar(sym("../outside/l", "x"))),
    refused("a FIFO whose name climbs", () => tar({ name: "../outside/p", type: "6" })),
    inside("an absolute name", () => tar(text(`${outside}/evil`))),
    inside("an absolute name with many slashes", () => tar(text(`///${outside.slice(1)}/evil`))),
    refused("a prefix field that climbs", () => tar({ ...text("evil"), prefix: "../outside" })),
    refused("a climbing path in a pax header", () => tar(pax(["path", "../outside/evil"]), text("good"))),
    refused("a climbing path in a global pax header", () => tar(globalPax(["path", "../outside/evil"]), text("good"))),
    refused("a climbing GNU long name", () => tar(longName("../outside/evil"), text("good"))),
    refused("a NUL within a pax path", () => tar(pax(["path", "good\0/../../outside/evil"]), text("good"))),
    refused("a newline and a climb in a pax path", () => tar(pax(["path", "a\n/../../outside/evil"]), text("good"))),

    // ---- links that lead out
    refused("a file through a symlink to above", () => tar(sym("l", "../outside"), text("l/evil"))),
    refused("a file through an absolute symlink", () => tar(sym("l", outside), text("l/evil"))),
    refused("a file through two symlinks", () => tar(sym("a", ".."), sym("b", "a/outside"), text("b/evil"))),
    refused("a file through /proc/self/root", () => tar(sym("l", `/proc/self/root${outside}`), text("l/evil"))),
    refused("a file through /proc/self/cwd", () => tar(sym("l", "/proc/self/cwd/../outside"), text("l/evil"))),
    inside("a file in place of a symlink out", () => tar(sym("v", `${outside}/victim`), text("v"))),
    inside("a directory in place of a symlink out", () => tar(sym("d", outside), dir("d"), text("d/evil"))),
    refused("a hard link to above", () => tar(hard("l", "../outside/victim"), text("l"))),
    refused("a hard link by an absolute name", () => tar(hard("l", `${outside}/victim`), text("l"))),
    refused("a hard link through a symlink", () => tar(sym("s", outside), hard("l", "s/victim"))),
    refused("a hard link whose target climbs in pax", () =>
      tar(pax(["linkpath", "../outside/victim"]), hard("l", "x")),
    ),
    refused("a hard link to a directory", () => tar(dir("d"), hard("l", "d"))),
    inside("a hard link to a symlink out, then written", () =>
      tar(sym("s", `${outside}/victim`), hard("l", "s"), text("l")),
    ),
    refused("a chain of symlinks without an end", () => tar(sym("a", "b"), sym("b", "a"), text("a/evil"))),

    // ---- one thing in place of another
    inside("a device in place of a directory", () =>
      tar(dir("d"), text("d/x"), { name: "d", type: "3", major: "0000001", minor: "0000003" }),
    ),
    inside("a directory in place of a file", () => tar(text("d"), dir("d"), text("d/x"))),
    inside("the same name five times", () =>
      tar(text("a", "1"), dir("a"), sym("a", "/etc"), text("a", "2"), text("a", "3")),
    ),
    refused("a file below a device", () =>
      tar({ name: "n", type: "3", major: "0000001", minor: "0000003" }, text("n/x")),
    ),
    refused("a file in place of the root", () => tar(text("."))),
    refused("a symlink in place of the root", () => tar(sym("./", outside), text("evil"))),

    // ---- whiteouts
    refused("a whiteout of the directory above", () => tar(text("a/.wh...", ""))),
    refused("a whiteout of nothing", () => tar(text(".wh.", ""))),
    refused("a whiteout of the root", () => tar(text(".wh..", ""))),
    refused("a whiteout through a symlink out", () => tar(sym("l", outside), text("l/.wh.victim", ""))),
    refused("an opaque mark through a symlink out", () => tar(sym("l", outside), text("l/.wh..wh..opq", ""))),
    inside("overlayfs's own attributes, brought along", () =>
      tar(pax(["SCHILY.xattr.trusted.overlay.redirect", `${outside}`]), dir("d")),
    ),

    // ---- headers that lie
    refused("a size far beyond the end", () => tar({ ...text("big"), size: "77777777777" })),
    refused("a negative size", () => tar({ ...text("n"), size: "-0000000001" })),
    refused("a size of letters", () => tar({ ...text("n"), size: "hello" })),
    refused("a base-256 size past 2^63", () => tar({ ...text("n"), size: "\xff".repeat(12) })),
    refused("a pax size that is no number", () => tar(pax(["size", "1e99"]), text("n"))),
    refused("a pax size of 2^60", () => tar(pax(["size", String(2n ** 60n)]), text("n"))),
    refused("a wrong checksum", () => tar({ ...text("n"), checksum: "0000001\0" })),
    refused("a pax record shorter than it says", () =>
      tar({ name: "p", type: "x", content: "999 path=x\n" }, text("n")),
    ),
    refused("a pax record without a length", () => tar({ name: "p", type: "x", content: "path=x\n" }, text("n"))),
    refused("a pax header of 2 MiB", () =>
      tar({ name: "p", type: "x", content: paxRecord("comment", "x".repeat(2 << 20)) }, text("n")),
    ),
    refused("a GNU long name of 1 MiB", () => tar(longName("n/".repeat(1 << 19)), text("n"))),
    refused("a name longer than any file's", () => tar(longName("n".repeat(300)), text("n"))),
    refused("a sparse map of a million pieces", () =>
      tar(
        pax(
          ["GNU.sparse.major", "1"],
          ["GNU.sparse.minor", "0"],
          ["GNU.sparse.name", "s"],
          ["GNU.sparse.realsize", "10"],
        ),
        { name: "s", content: `1000000\n${"0\n1\n".repeat(1000)}` },
      ),
    ),
    refused("a sparse piece beyond the file's end", () =>
      tar(
        pax(
          ["GNU.sparse.major", "1"],
          ["GNU.sparse.minor", "0"],
          ["GNU.sparse.name", "s"],
          ["GNU.sparse.realsize", "10"],
        ),
        { name: "s", content: Buffer.concat([Buffer.from("1\n1000000\n10\n".padEnd(512, "\0")), Buffer.alloc(10)]) },
      ),
    ),
    refused("a device number that is none", () => tar({ name: "n", type: "3", major: "7777777", minor: "0000001" })),
    refused("a pax header at the end", () => tar(text("a"), pax(["path", "b"]))),

    // ---- streams
    refused("nothing but noise", () => Buffer.from(Array.from({ length: 4096 }, (_, at) => (at * 7919 + 13) & 0xff))),
    refused("a gzip stream cut off", () => gzipSync(tar(text("a", "x".repeat(100_000)))).subarray(0, 100)),
    refused("a gzip stream with a wrong checksum", () => {
      const bytes = gzipSync(tar(text("a")));
      bytes[bytes.length - 6] = (bytes[bytes.length - 6] ?? 0) ^ 0xff;
      return bytes;
    }),
    refused("noise after a gzip stream", () =>
      Buffer.concat([gzipSync(tar(text("a"))), Buffer.from("trailing noise, no member")]),
    ),
    refused("a zstd stream cut off", () => zstdCompressSync(tar(text("a", "x".repeat(100_000)))).subarray(0, 40)),
    refused("a zstd frame that wants a dictionary", () => Buffer.from("28b52ffd2304d2024900000100", "hex")),
    refused("a zstd frame with a window of 128 GiB", () =>
      Buffer.concat([Buffer.from("28b52ffd00f0", "hex"), Buffer.alloc(64)]),
    ),
    refused("an xz stream", () => Buffer.from("fd377a585a000004e6d6b446", "hex")),
    refused("a gzip bomb whose tar never ends", () => {
      const member = gzipSync(Buffer.alloc(32 << 20), { level: 9 });
      const head = gzipSync(entry({ ...text("bomb", ""), size: 2 ** 32 }));
      return Buffer.concat([head, ...Array.from({ length: 6 }, () => member)]);
    }),
    inside("fifty thousand empty files in one directory", () =>
      gzipSync(Buffer.concat([...Array.from({ length: 50_000 }, (_, at) => entry(text(`d/${at}`, ""))), END])),
    ),
    inside("a path of a thousand directories", () => tar(longName(`${"d/".repeat(1000)}f`), text("f"))),
  ];
}

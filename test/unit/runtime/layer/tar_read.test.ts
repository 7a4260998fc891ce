// Archives in pieces of any size, other writers' extensions, and archives that are cut, damaged or hostile.
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { LayerError } from "../../../../runtime/layer/layer_error.ts";
import { type TarEntry, TarReader, type TarReadOptions, type TarVisitor } from "../../../../runtime/layer/tar_read.ts";
import { type TarHeader, tarEnd, tarHeader } from "../../../../runtime/layer/tar_write.ts";
import { directory, file, symlink, tarOf } from "../../../support/images.ts";

interface Read {
  entry: TarEntry;
  content: Uint8Array;
}

class Collector implements TarVisitor {
  readonly items: Read[] = [];
  entry(entry: TarEntry): void {
    this.items.push({ entry, content: new Uint8Array(entry.size) });
  }
  data(bytes: Uint8Array, position: number): void {
    this.items.at(-1)?.content.set(bytes, position);
  }
  end(): void {}
}

/** Reads in pieces of `step` bytes. */
function read(bytes: Uint8Array, step = bytes.length, options: TarReadOptions = {}): Read[] {
  const collector = new Collector();
  const reader = new TarReader(collector, options);
  for (let at = 0; at < bytes.length; at += step) reader.write(bytes.subarray(at, at + step));
  reader.finish();
  return collector.items;
}

const text = (item: Read | undefined): string => Buffer.from(item?.content ?? []).toString();

/** A header block with some bytes changed and its checksum made right again. */
function forge(header: Uint8Array, changes: (block: Buffer) => void, at = 0): Uint8Array {
  const bytes = Buffer.from(header);
  const block = bytes.subarray(at, at + 512);
  changes(block);
  block.fill(" ", 148, 156);
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
    "latin1",
  );
  return bytes;
}

/** A header of another type with a body: GNU long names, pax records by hand. */
function meta(type: string, body: Uint8Array): Uint8Array {
  const header = forge(tarHeader({ type: "file", path: "meta", size: body.length }), (block) =>
    block.write(type, 156, "latin1"),
  );
  return Buffer.concat([header, body, new Uint8Array((512 - (body.length % 512)) % 512)]);
}

function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return length + rest;
}

describe("TarReader", () => {
  const samples: TarHeader[] = [
    { type: "file", path: "plain", mode: 0o4755, uid: 1, gid: 2, mtime: { sec: 1_700_000_000, nsec: 0 } },
    { type: "file", path: `${"d".repeat(90)}/${"f".repeat(90)}`, mode: 0o600 },
    { type: "file", path: `${"x".repeat(300)}/${"y".repeat(200)}`, uid: 3_000_000_000, gid: 4_000_000_000 },
    { type: "directory", path: "dir/", mode: 0o1777, mtime: { sec: -2, nsec: 500_000_000 } },
    { type: "symlink", path: "dir/link", linkPath: "é".repeat(80), mode: 0o777 },
    { type: "link", path: "hard", linkPath: "plain", mode: 0o644 },
    { type: "char", path: "null", major: 1, minor: 3, mode: 0o666 },
    { type: "block", path: "disk", major: 259, minor: 70_000, mode: 0o600 },
    { type: "fifo", path: "pipe", mode: 0o600 },
    {
      type: "file",
      path: "caf\udce9",
      mode: 0o644,
      mtime: { sec: 1_700_000_000, nsec: 123_456_789 },
      atime: { sec: 5, nsec: 1 },
      xattrs: new Map([
        ["security.capability", Uint8Array.of(1, 0, 10, 61, 0xff)],
        ["user.é", Buffer.from("=\n")],
      ]),
    },
  ];

  test("reads back all that tarHeader() writes, in pieces of any size", () => {
    const bytes = Buffer.concat([...samples.map((sample) => tarHeader(sample)), tarEnd()]);
    for (const step of [1, 100, 512, 700, bytes.length]) {
      const items = read(bytes, step);
      expect(items).toHaveLength(samples.length);
      items.forEach(({ entry }, index) => expect(entry).toMatchObject({ ...samples[index] }));
    }
  });

  test("gives contents whole, whatever the pieces", () => {
    const big = Buffer.alloc(3000, "0123456789");
    const bytes = tarOf([
      file("empty", ""),
      file("small", "abc"),
      file("big", big),
      directory("d"),
      symlink("s", "small"),
    ]);
    for (const step of [1, 511, 513, 4096]) {
      const items = read(bytes, step);
      expect(items.map(({ entry }) => entry.path)).toEqual(["empty", "small", "big", "d/", "s"]);
      expect(text(items[1])).toBe("abc");
      expect(Buffer.from(items[2]?.content ?? []).equals(big)).toBe(true);
    }
  });

  test("reads what Python's tarfile writes, in its three formats", () => {
    const script = `
import tarfile, io, sys
for fmt in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode='w', format=fmt) as t:
        for n in ('a', 'b' * 90 + '/' + 'c' * 90, ('long/' * 60 + 'name') if fmt != tarfile.USTAR_FORMAT else 'short'):
            i = tarfile.TarInfo(n); i.size = 3; i.uid = 70000; i.mtime = 1700000000; t.addfile(i, io.BytesIO(b'xyz'))
    sys.stdout.buffer.write(len(b.getvalue()).to_bytes(4, 'little') + b.getvalue())
`;
    const out = spawnSync("python3", ["-c", script]).stdout;
    let at = 0;
    let archives = 0;
    for (; at < out.length; archives++) {
      const length = out.readUInt32LE(at);
      const items = read(out.subarray(at + 4, at + 4 + length));
      at += 4 + length;
      expect(items).toHaveLength(3);
      expect(items[1]?.entry.path).toBe(`${"b".repeat(90)}/${"c".repeat(90)}`);
      expect(items.map(text)).toEqual(["xyz", "xyz", "xyz"]);
      expect(items[0]?.entry).toMatchObject({ uid: 70000, mtime: { sec: 1_700_000_000, nsec: 0 } });
    }
    expect(archives).toBe(3);
  });

  test("takes GNU long names and links", () => {
    const path = "p".repeat(700);
    const link = "l".repeat(900);
    const bytes = Buffer.concat([
      meta("L", Buffer.from(`${path}\0`)),
      meta("K", Buffer.from(`${link}\0`)),
      tarHeader({ type: "symlink", path: "short", linkPath: "short" }),
      tarHeader({ type: "file", path: "next" }),
      tarEnd(),
    ]);
    const items = read(bytes, 300);
    expect(items[0]?.entry).toMatchObject({ path, linkPath: link });
    expect(items[1]?.entry.path).toBe("next");
  });

  test("applies global pax records until they are changed or deleted", () => {
    const bytes = Buffer.concat([
      meta("g", Buffer.from(record("uid", "7") + record("uname", "seven"))),
      tarHeader({ type: "file", path: "a" }),
      meta("x", Buffer.from(record("uid", "8"))),
      tarHeader({ type: "file", path: "b" }),
      meta("g", Buffer.from(record("uid", ""))),
      tarHeader({ type: "file", path: "c", uid: 5 }),
      tarEnd(),
    ]);
    expect(read(bytes).map(({ entry }) => [entry.uid, entry.userName])).toEqual([
      [7, "seven"],
      [8, "seven"],
      [5, "seven"],
    ]);
  });

  test("reads numbers in base 256, negative times too", () => {
    const bytes = Buffer.concat([
      forge(tarHeader({ type: "file", path: "a" }), (block) => {
        block.set([0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0x00], 108);
        block.set([0xff, ...Array<number>(10).fill(0xff), 0xfe], 136);
      }),
      tarEnd(),
    ]);
    expect(read(bytes)[0]?.entry).toMatchObject({ uid: 4_000_000_000, mtime: { sec: -2, nsec: 0 } });
  });

  test("takes a file of old times whose name ends in a slash for a directory", () => {
    const header = forge(tarHeader({ type: "file", path: "old" }), (block) => {
      block.write("old/\0", 0, "latin1");
      block.fill(0, 257, 265);
      block[156] = 0;
    });
    expect(read(Buffer.concat([header, tarEnd()]))[0]?.entry).toMatchObject({ type: "directory", path: "old/" });
  });

  test("ignores what follows the end of the archive", () => {
    expect(read(Buffer.concat([tarOf([file("a", "x")]), Buffer.from("rubbish".repeat(100))]))).toHaveLength(1);
  });

  describe("sparse files", () => {
    const expected = (): Buffer => {
      const whole = Buffer.alloc(100_000);
      whole.write("head", 0);
      whole.write("tail", 99_996);
      return whole;
    };
    const data = Buffer.concat([Buffer.from("headtail"), new Uint8Array(504)]);

    test("in all pax notations give data at its place and the real size", () => {
      const size = (bytes: number): Uint8Array => tarHeader({ type: "file", path: "GNUSparseFile.0/s", size: bytes });
      const map = Buffer.from("2\n0\n4\n99996\n4\n".padEnd(512, "\0"));
      const archives = [
        [
          meta(
            "x",
            Buffer.from(
              record("GNU.sparse.size", "100000") +
                record("GNU.sparse.offset", "0") +
                record("GNU.sparse.numbytes", "4") +
                record("GNU.sparse.offset", "99996") +
                record("GNU.sparse.numbytes", "4") +
                record("path", "s"),
            ),
          ),
          size(8),
          data,
        ],
        [
          meta(
            "x",
            Buffer.from(
              record("GNU.sparse.size", "100000") +
                record("GNU.sparse.map", "0,4,99996,4") +
                record("GNU.sparse.name", "s"),
            ),
          ),
          size(8),
          data,
        ],
        [
          meta(
            "x",
            Buffer.from(
              record("GNU.sparse.major", "1") +
                record("GNU.sparse.minor", "0") +
                record("GNU.sparse.name", "s") +
                record("GNU.sparse.realsize", "100000"),
            ),
          ),
          size(520),
          map,
          data,
        ],
      ];
      for (const parts of archives) {
        for (const step of [7, 512, 10_000]) {
          const [item] = read(Buffer.concat([...parts, tarEnd()]), step);
          expect(item?.entry).toMatchObject({ path: "s", size: 100_000 });
          expect(Buffer.from(item?.content ?? []).equals(expected())).toBe(true);
        }
      }
    });

    test("in GNU's old notation, with a header of its own for more pieces", () => {
      const number = (value: number): string => `${value.toString(8).padStart(11, "0")}\0`;
      const header = forge(tarHeader({ type: "file", path: "s", size: 8 }), (block) => {
        block.write("S", 156, "latin1");
        block.write("ustar  \0", 257, "latin1");
        block.fill(0, 345);
        block.write(number(0) + number(4), 386, "latin1");
        block[482] = 1;
        block.write(number(100_000), 483, "latin1");
      });
      const more = Buffer.alloc(512);
      more.write(number(99_996) + number(4), 0, "latin1");
      const [item] = read(Buffer.concat([header, more, data, tarEnd()]), 333);
      expect(Buffer.from(item?.content ?? []).equals(expected())).toBe(true);
    });

    test("with a map that does not fit are refused", () => {
      for (const map of ["0,4,2,4", "0,4,99999,4", "0,4", "0,4,x,4", "0,4,8"]) {
        const records = record("GNU.sparse.size", "100000") + record("GNU.sparse.map", map);
        const bytes = Buffer.concat([
          meta("x", Buffer.from(records)),
          tarHeader({ type: "file", path: "s", size: 8 }),
          data,
          tarEnd(),
        ]);
        expect(() => read(bytes)).toThrow(LayerError);
      }
    });
  });

  describe("refuses", () => {
    const good = tarOf([file("a", "x".repeat(600))]);
    const cases: [string, Uint8Array, string][] = [
      ["what is no tar", Buffer.alloc(2048, "hello "), "not a tar archive"],
      ["an archive cut in a file", good.subarray(0, 700), 'truncated inside "a"'],
      ["an archive cut in padding", good.subarray(0, 512 + 700), "truncated after 1 entries"],
      ["an archive cut in a header", good.subarray(0, 100), "truncated after 0 entries"],
      ["an archive without an end", good.subarray(0, good.length - 1024), "truncated after 1 entries"],
      [
        "a wrong checksum",
        Buffer.concat([good.subarray(0, 512 + 1024), good.subarray(0, 512).map((byte, at) => (at === 3 ? 9 : byte))]),
        "damaged tar header",
      ],
      ["an unknown type", forge(good, (block) => block.write("Z", 156, "latin1")), "unhandled tar header type 90"],
      [
        "a huge pax header",
        forge(good, (block) => block.write("x", 156, "latin1") && block.write("00077777777\0", 124, "latin1")),
        "the limit is",
      ],
      ["a damaged pax header", Buffer.concat([meta("x", Buffer.from("99 path=a\n")), good]), "damaged pax header"],
      ["a pax size that is none", Buffer.concat([meta("x", Buffer.from(record("size", "-5"))), good]), "size="],
      ["a pax time that is none", Buffer.concat([meta("x", Buffer.from(record("mtime", "1e9"))), good]), "mtime="],
      ["a NUL in a name", Buffer.concat([meta("x", Buffer.from(record("path", "a\0b"))), good]), "NUL byte"],
      [
        "a name beyond PATH_MAX",
        Buffer.concat([meta("x", Buffer.from(record("path", "a/".repeat(3000)))), good]),
        "longer than 4095",
      ],
      [
        "an owner beyond 32 bits",
        Buffer.concat([meta("x", Buffer.from(record("uid", "4294967295"))), good]),
        "owner 4294967295",
      ],
      ["a bad number", forge(good, (block) => block.write("12z4", 108, "latin1")), "bad uid"],
      [
        "an overlong number",
        forge(good, (block) => block.fill(0x7f, 125, 136) && block.fill(0x80, 124, 125)),
        "bad size",
      ],
      ["a link to nothing", Buffer.concat([tarHeader({ type: "link", path: "l" }), tarEnd()]), "link to nothing"],
      ["an entry without a name", forge(good, (block) => block.fill(0, 0, 100)), "without a name"],
      [
        "a pax header that describes nothing",
        Buffer.concat([meta("x", Buffer.from(record("path", "a"))), tarEnd()]),
        "followed by none",
      ],
    ];
    for (const [name, bytes, message] of cases) {
      test(name, () => {
        expect(() => read(bytes, 128)).toThrow(LayerError);
        expect(() => read(bytes)).toThrow(message);
      });
    }
  });

  test("accepts a missing end where the caller checks a digest, but nothing cut short", () => {
    const good = tarOf([file("a", "x".repeat(600))]);
    expect(read(good.subarray(0, good.length - 1024), 100, { allowsMissingEnd: true })).toHaveLength(1);
    expect(() => read(good.subarray(0, 1000), 100, { allowsMissingEnd: true })).toThrow("truncated");
  });

  test("survives any damage to a good archive with an error or a result", () => {
    const good = Buffer.concat([...samples.map((sample) => tarHeader(sample)), tarEnd()]);
    let state = 12345;
    const random = (): number => (state = (state * 1103515245 + 12345) & 0x7fffffff) / 0x7fffffff;
    for (let round = 0; round < 500; round++) {
      const bad = Buffer.from(good);
      for (let change = 0; change < 3; change++) bad[Math.floor(random() * bad.length)] = Math.floor(random() * 256);
      try {
        read(bad, 1000);
      } catch (error) {
        expect(error).toBeInstanceOf(LayerError);
      }
    }
  });
});

// Compression told by its first bytes and undone; what is cut or damaged is refused. Zstd of several frames, which Deno
// reads only the first of, is tested in test/root/layer_apply.test.ts.
import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { decompress, detectCompression } from "../../../../runtime/layer/compression.ts";
import { LayerError } from "../../../../runtime/layer/layer_error.ts";
import { inPieces } from "../../../support/images.ts";

const data = Buffer.concat(
  Array.from({ length: 40_000 }, (_, index) => Buffer.from(`line ${index} ${index * 7919}\n`)),
);

async function all(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(decompress(source)));
}

describe("decompress()", () => {
  const forms: [string, Uint8Array][] = [
    ["plain", data],
    ["gzip", gzipSync(data)],
    ["zstd", zstdCompressSync(data)],
    ["gzip of several members", Buffer.concat([gzipSync(data.subarray(0, 1000)), gzipSync(data.subarray(1000))])],
  ];
  for (const [name, bytes] of forms) {
    test(`gives the bytes of ${name}, in pieces of any size`, async () => {
      for (const size of [3, 4096, bytes.length]) {
        const source = size === 3 ? inPieces(bytes.subarray(0), 1 << 16) : inPieces(bytes, size);
        expect((await all(source)).equals(data)).toBe(true);
      }
    });
  }
  test.each(["xz", "bzip2"])("gives the bytes of %s when the host's tools may be used", async (tool) => {
    const packed = execFileSync(tool, ["-c"], { input: data });
    const whole = await Array.fromAsync(decompress(inPieces(packed, 4096), { usesHostTools: true }));
    expect(Buffer.concat(whole).equals(data)).toBe(true);
    await expect(all(inPieces(packed, 4096))).rejects.toThrow(`${tool} compression is not supported`);
    const cut = decompress(inPieces(packed.subarray(0, packed.length - 100), 4096), { usesHostTools: true });
    await expect(Array.fromAsync(cut)).rejects.toThrow(`the ${tool} data is damaged`);
    // Whoever stops reading ends the tool; whoever cannot be read is told of.
    for await (const chunk of decompress(inPieces(packed, 4096), { usesHostTools: true })) if (chunk.length > 0) break;
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield packed.subarray(0, 1000);
      throw new Error("the client has gone");
    };
    await expect(Array.fromAsync(decompress(broken(), { usesHostTools: true }))).rejects.toThrow("the client has gone");
  });
  test("gives nothing for nothing, and short input as it is", async () => {
    expect((await all(inPieces(new Uint8Array(0), 1))).length).toBe(0);
    expect((await all(inPieces(Buffer.from("ab"), 1))).toString()).toBe("ab");
  });
  test("refuses gzip that is cut or damaged", async () => {
    const good = gzipSync(data);
    const bad = Buffer.from(good);
    bad.fill(0xff, 100, 200);
    await expect(all(inPieces(good.subarray(0, 5000), 512))).rejects.toThrow(LayerError);
    await expect(all(inPieces(bad, 512))).rejects.toThrow(LayerError);
  });
  test("refuses damaged zstd", async () => {
    const bad = Buffer.from(zstdCompressSync(data));
    bad.fill(0xff, 20, 200);
    await expect(all(inPieces(bad, 512))).rejects.toThrow(LayerError);
  });
  test("passes on the failure of its source", async () => {
    const failing = async function* (): AsyncGenerator<Uint8Array> {
      yield gzipSync(data).subarray(0, 1000);
      throw new RangeError("the disk went away");
    };
    await expect(all(failing())).rejects.toThrow("the disk went away");
  });
  test("stops reading its source when nobody reads it any more", async () => {
    let isClosed = false;
    const source = async function* (): AsyncGenerator<Uint8Array> {
      try {
        const packed = gzipSync(data);
        for (;;) yield packed;
      } finally {
        isClosed = true;
      }
    };
    for await (const chunk of decompress(source())) if (chunk.length > 0) break;
    expect(isClosed).toBe(true);
  });
});

test("detectCompression() names what it cannot undo", () => {
  expect(() => detectCompression(Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0))).toThrow(
    "xz compression is not supported",
  );
  expect(() => detectCompression(Buffer.from("BZh91AY"))).toThrow("bzip2 compression is not supported");
  expect(detectCompression(Uint8Array.of(0x5e, 0x2a, 0x4d, 0x18))).toBe("zstd");
  expect(detectCompression(new Uint8Array(0))).toBe("none");
});

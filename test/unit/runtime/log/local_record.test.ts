// The local format's records: each a nanosecond later than the one before, over the borders of its number's halves too.
import { expect, test } from "bun:test";
import { localFormat } from "../../../../runtime/log/local_record.ts";

test("times count on by one, across 32 bits", () => {
  const format = localFormat(new Uint8Array(512 << 10));
  const at = (1_704_067_200_000_000_000n & ~0xffff_ffffn) + 0xffff_fffen;
  const encoder = format.encoder({});
  encoder.begin(2, at);
  const line = new TextEncoder().encode("x\n");
  for (let index = 0; index < 4; index++) encoder.add(line, 0, 2);
  const times: bigint[] = [];
  format.decoder().feed(encoder.bytes(), (record) => times.push(record.timeNano()));
  expect(times).toEqual([at, at + 1n, at + 2n, at + 3n]);
  expect(encoder.timeNano).toBe(at + 4n);
});

// /proc/<pid>/net/dev, as the kernel writes it and as it does not.
import { expect, test } from "bun:test";
import { parseInterfaces } from "../../../../runtime/net/counters.ts";

const TITLES = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";

test("parseInterfaces() takes what came in and what went out, but for the loopback", () => {
  const text = `${TITLES}    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 1 2 3 4 50 60 70 80 5 6 7 8 90 10 11 12\n`;
  expect([...parseInterfaces(text)]).toEqual([
    [
      "eth0",
      {
        rxBytes: 1,
        rxPackets: 2,
        rxErrors: 3,
        rxDropped: 4,
        txBytes: 5,
        txPackets: 6,
        txErrors: 7,
        txDropped: 8,
      },
    ],
  ]);
});

test("a name may hold a colon; lines of another form are passed over", () => {
  const numbers = Array.from({ length: 16 }, (_, index) => index).join(" ");
  const text = `${TITLES}a:1: ${numbers}\nshort: 1 2\nno line\nbad: ${numbers.replace("3", "x")}\n\n`;
  expect([...parseInterfaces(text).keys()]).toEqual(["a:1"]);
});

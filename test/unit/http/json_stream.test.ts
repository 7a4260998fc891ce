// src/http/json_stream.ts: progress as lines, and where an error goes.
import { expect, test } from "bun:test";
import { jsonStream, type Write } from "../../../src/http/json_stream.ts";
import { StreamingResponse } from "../../../src/http/streaming.ts";

test("messages are lines with CRLF, and the reply is marked as a stream", async () => {
  const response = await jsonStream(async (write) => {
    write({ status: "Pulling <a>" });
    await Promise.resolve();
    write({ status: "Done" });
  });
  expect(response).toBeInstanceOf(StreamingResponse);
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(await response.text()).toBe('{"status":"Pulling <a>"}\r\n{"status":"Done"}\r\n');
});

test("a failure before the first message rejects", async () => {
  await expect(
    jsonStream(async () => {
      throw new Error("no such image");
    }),
  ).rejects.toThrow("no such image");
});

test("a failure after it is the last line", async () => {
  const response = await jsonStream(async (write) => {
    write({ status: "a" });
    throw new Error("broken");
  });
  expect(await response.text()).toBe('{"status":"a"}\r\n{"errorDetail":{"message":"broken"},"error":"broken"}\r\n');
});

test("work without a message is an empty reply", async () => {
  expect(await (await jsonStream(async () => {})).text()).toBe("");
});

test("the reply begins with the first message, while the work goes on", async () => {
  const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>();
  const response = await jsonStream(async (write) => {
    write({ n: 1 });
    await mayEnd;
  });
  const reader = response.body?.getReader();
  expect(new TextDecoder().decode((await reader?.read())?.value)).toBe('{"n":1}\r\n');
  end();
  expect((await reader?.read())?.done).toBe(true);
});

test("for a slow client what only moves a bar is dropped, and the rest is kept", async () => {
  const response = await jsonStream(async (write: Write) => {
    for (let i = 0; i < 50_000; i++)
      write({ status: "Downloading", progressDetail: { current: i, total: 50_000 }, id: "a" });
    write({ status: "Pull complete", progressDetail: {}, id: "a" });
  });
  const text = await response.text();
  expect(text.length).toBeLessThan(2 << 20);
  expect(text).toEndWith('{"status":"Pull complete","progressDetail":{},"id":"a"}\r\n');
});

test("a client that leaves does not fail the work", async () => {
  const { promise: isLeft, resolve: leave } = Promise.withResolvers<void>();
  const { promise: isDone, resolve: done } = Promise.withResolvers<void>();
  const response = await jsonStream(async (write) => {
    write({ n: 1 });
    await isLeft;
    write({ n: 2 });
    done();
  });
  await response.body?.cancel();
  leave();
  await isDone;
});

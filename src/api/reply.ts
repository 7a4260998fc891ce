// JSON replies as Docker writes them: exactly `application/json`, one trailing newline, nothing HTML-escaped.

const JSON_HEADERS = { "Content-Type": "application/json" } as const;

/** A whole JSON document. */
export function json(value: unknown, status = 200): Response {
  return new Response(`${JSON.stringify(value)}\n`, { status, headers: JSON_HEADERS });
}

/** A reply that is all in its status: 201, 204, 304. */
export function empty(status: 200 | 201 | 204 | 304): Response {
  return new Response(null, { status });
}

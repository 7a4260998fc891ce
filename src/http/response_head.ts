// Reply heads as text.

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  204: "No Content",
  304: "Not Modified",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  417: "Expectation Failed",
  426: "Upgrade Required",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

/** Headers that only the transport may write. */
const FRAMING: ReadonlySet<string> = new Set(["connection", "transfer-encoding", "content-length", "date"]);

/** Header lines for every reply, as they stand in each head. */
export function headerLines(headers: Readonly<Record<string, string>>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
}

/** The lines that do not depend on framing: status, the reply's own headers, the common ones, the date. */
export function startOfHead(response: Response, minorVersion: 0 | 1, common: string, date: string): string {
  const { status } = response;
  let text = `HTTP/1.${minorVersion} ${status} ${REASONS[status] ?? "Status"}\r\n`;
  response.headers.forEach((value, name) => {
    if (!FRAMING.has(name)) text += `${spell(name)}: ${value}\r\n`;
  });
  return `${text}${common}Date: ${date}\r\n`;
}

/** Headers hands out names in lower case. COMPAT: shell scripts grep for the spelling that Docker sends. */
function spell(name: string): string {
  if (name === "content-type") return "Content-Type";
  return name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase());
}

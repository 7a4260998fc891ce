// The answer to a ping. Apart from the other routes, so that it can be given before they are loaded.
import { ConstantResponse } from "../http/constant.ts";

export function pingResponse(): Response {
  return new ConstantResponse("OK", {
    headers: {
      "Content-Type": "text/plain; charset=utf-8",
      "Cache-Control": "no-cache, no-store, must-revalidate",
      Pragma: "no-cache",
      // COMPAT: 1 is the classic builder; 2 makes older CLIs build over /session, which is not here yet.
      "Builder-Version": "1",
      Swarm: "inactive",
    },
  });
}

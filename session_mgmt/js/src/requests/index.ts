/** Requests that few pages make: about sessions and devices, and about the past of documents and topics. */

import type { DocumentHead } from "../past";
import type { Json } from "../values";
import { toCamelCases } from "./answers";

export { Beginning } from "./beginning";
export { DocumentRequests } from "./documents";
export { SessionRequests } from "./sessions";
export { Presence, type Member } from "./presence";
export { narrowToken } from "./tokens";
export { TopicRequests } from "./topics";
export { askForWishes } from "./wishes";

/** Read a list of documents without their data from the server's answer. */
export function readHeads({ results }: Json): DocumentHead[] {
  return toCamelCases(results);
}

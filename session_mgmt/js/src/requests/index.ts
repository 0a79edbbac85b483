/** Requests that few pages make: what a person asks about sessions, devices, and the past of documents and topics. */

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

/** List documents without their data, by the server's answer. */
export function readHeads({ results }: Json): DocumentHead[] {
  return toCamelCases(results);
}

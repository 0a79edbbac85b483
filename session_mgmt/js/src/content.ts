/**
 * Content of a session, and the way of writing: its documents, its topics, the outbox. Loaded with each start while the
 * session is found. No client begins without it, so a write never waits for a file.
 */

export { checkOptions } from "./checking";
export { Documents, fetchDocument } from "./documents";
export { Topics } from "./topics";
export { Writer } from "./writer";

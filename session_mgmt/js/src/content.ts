/**
 * Content of a session and its writes: documents, topics, the outbox. Loaded with each start, while the client finds
 * its session. No client starts without it, so a write never waits for a file.
 */

export { checkOptions } from "./checking";
export { Documents, fetchDocument } from "./documents";
export { Topics } from "./topics";
export { Writer } from "./writer";

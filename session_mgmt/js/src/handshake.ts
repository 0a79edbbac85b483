/** Opening of a connection: what this client says of itself, and what the server says of the session. */

import type { Credentials } from "./credentials";
import type { Documents } from "./documents";
import type { Status } from "./events";
import { AGENT, type ConnectedFrame, type SessionFields } from "./frames";
import type { Identity } from "./identity";
import { toSessionInfo, type SessionInfo } from "./info";
import type { Logbook } from "./logbook";
import type { ClientRecord } from "./record";
import type { Writer } from "./writer";

export interface HandshakeParts {
  /** Name of the page's session among those of the site. */
  name: string | undefined;
  credentials: Credentials;
  identity: Identity;
  record: ClientRecord;
  writer: Writer;
  documents: Documents;
  logbook: Logbook;
}

export class Handshake {
  readonly #parts: HandshakeParts;
  /** Session as the last connection told it; null before the first. */
  #fields: SessionFields | null = null;

  constructor(parts: HandshakeParts) {
    this.#parts = parts;
  }

  /** Return the session as far as it may be shown. */
  describeSession(status: Status): SessionInfo {
    const { credentials, identity } = this.#parts;
    const { session } = credentials;
    const unknown = { session_id: "", user_id: null, label: "", metadata: {} };
    return toSessionInfo(identity.isHidden ? { ...session, ...unknown } : (this.#fields ?? session), status);
  }

  /** Forget what the last connection told: it was of another session. */
  forgetSession(): void {
    this.#fields = null;
  }

  buildConnect(): object {
    const { credentials, identity, record, writer, logbook, name } = this.#parts;
    record.latest += 1;
    return {
      type: "connect",
      ...describeProof(identity.useToken(), name),
      user: credentials.session.user_id,
      client_id: record.client,
      acked: writer.outbox.acked,
      ...logbook.listWanted(),
      capabilities: [],
      agent: AGENT,
    };
  }

  /**
   * Take what the server says of the session; return false if it is another one, and leave everything as it was. A
   * cookie may be newer than what this tab has read: then the session of the one is not that of the other.
   */
  takeConnected(frame: ConnectedFrame): boolean {
    const { record, documents, writer, logbook, credentials } = this.#parts;
    if (frame.session.session_id !== credentials.session.session_id) return false;
    this.#fields = frame.session;
    const { generation } = frame;
    record.generation = generation;
    // One that the page before has begun may be under way too, unless the client is new.
    record.latest = generation > 1 ? Math.max(generation, record.latest || generation + 1) : 1;
    record.assignClient(frame.session, frame.client_id);
    documents.decided = frame.last_seq;
    writer.applyLimits(frame.limits ?? {});
    logbook.attach(frame.logs);
    writer.outbox.attach(frame.last_seq);
    return true;
  }
}

/** Return the fields of `connect` that prove the session; without a token the handshake's cookie does. */
export function describeProof(token: string, name: string | undefined): object {
  return token ? { token } : { auth: "cookie", ...(name !== undefined && { name }) };
}

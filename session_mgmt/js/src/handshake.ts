/** Opening of a connection: the `connect` frame, and the server's answer about the session. */

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
  /** Name that separates several sessions of one site. */
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
  /** Session as the last connection reported it; null before the first one. */
  #fields: SessionFields | null = null;

  constructor(parts: HandshakeParts) {
    this.#parts = parts;
  }

  /** Return the facts about the session that may be shown. */
  describeSession(status: Status): SessionInfo {
    const { credentials, identity } = this.#parts;
    const { session } = credentials;
    const unknown = { session_id: "", user_id: null, label: "", metadata: {} };
    return toSessionInfo(identity.isHidden ? { ...session, ...unknown } : (this.#fields ?? session), status);
  }

  /** Forget the facts of the last connection, because they belong to another session. */
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
   * Handle the server's answer about the session. If it is another session, change nothing and return false: a cookie
   * may be newer than what this tab has read, and then the connection belongs to another session than the tab.
   */
  takeConnected(frame: ConnectedFrame): boolean {
    const { record, documents, writer, logbook, credentials } = this.#parts;
    if (frame.session.session_id !== credentials.session.session_id) return false;
    this.#fields = frame.session;
    const { generation } = frame;
    record.generation = generation;
    // An attach of the page before may still be in progress, unless the client is new.
    record.latest = generation > 1 ? Math.max(generation, record.latest || generation + 1) : 1;
    record.assignClient(frame.session, frame.client_id);
    documents.decided = frame.last_seq;
    writer.applyLimits(frame.limits ?? {});
    logbook.attach(frame.logs);
    writer.outbox.attach(frame.last_seq);
    return true;
  }
}

/** Return the fields of `connect` that prove the session. Without a token the cookie of the handshake proves it. */
export function describeProof(token: string, name: string | undefined): object {
  return token ? { token } : { auth: "cookie", ...(name !== undefined && { name }) };
}

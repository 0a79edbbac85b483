/** The one error type. Programs branch on `name` or `code`, never on `message` (PROTOCOL section 11). */

export interface ErrorFields {
  code?: number;
  name?: string;
  temporary?: boolean;
  message?: string;
  retry_after?: number | null;
  [fact: string]: unknown;
}

export class SessionError extends Error {
  /** The server's number; 0 for an error that this client found itself. */
  readonly code: number;
  /** True if the same request may succeed later. */
  readonly temporary: boolean;
  /** Seconds, if the server said when to come back. */
  readonly retryAfter: number | null;
  /** The server's further fields, such as `position` of a conflict. */
  readonly facts: Record<string, unknown>;

  constructor(fields: ErrorFields) {
    const { code = 0, name = "error", temporary = false, message = name, retry_after = null, ...facts } = fields;
    super(message);
    this.name = name;
    this.code = code;
    this.temporary = temporary;
    this.retryAfter = retry_after;
    this.facts = facts;
  }

  static local(name: string, message: string, temporary = false): SessionError {
    return new SessionError({ name, message, temporary });
  }
}

/** Refusals are told by the `error` event too, so who does not wait for the promise needs no unhandled rejection. */
export function silenceRejection<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

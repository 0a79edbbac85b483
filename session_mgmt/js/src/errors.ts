/** Only error type of the client. Programs branch on `name` or `code`, never on `message` (PROTOCOL section 11). */

export interface ErrorFields {
  code?: number;
  name?: string;
  temporary?: boolean;
  message?: string;
  retry_after?: number | null;
  [fact: string]: unknown;
}

export class SessionError extends Error {
  /** Number of the error; 0 for one that this client found itself. */
  readonly code: number;
  /** True if the same request may succeed later. */
  readonly temporary: boolean;
  /** Seconds, if the server said when to come back. */
  readonly retryAfter: number | null;
  /** Further fields of the server, such as `position` of a conflict. */
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

/** Return an error with these facts in place of its own. */
export function replaceFacts({ code, name, temporary, message }: SessionError, facts: object): SessionError {
  return new SessionError({ code, name, temporary, message, ...facts });
}

/** Return what was thrown as an error of this client. */
export function toFailure(error: unknown): SessionError {
  return error instanceof SessionError ? error : SessionError.local("recovery_failed", String(error));
}

/** Prevent an unhandled rejection: refusals are reported by the `error` event as well. */
export function silenceRejection<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

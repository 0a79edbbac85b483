/**
 * Errors of the client; they have one class. Programs branch on `name` or `code`, never on `message` (PROTOCOL section
 * 11).
 */

export interface ErrorFields {
  code?: number;
  name?: string;
  temporary?: boolean;
  message?: string;
  retry_after?: number | null;
  [fact: string]: unknown;
}

export class SessionError extends Error {
  /** Number of the error; 0 if the client itself found it. */
  readonly code: number;
  /** True if the same request may succeed later. */
  readonly temporary: boolean;
  /** Seconds until the next attempt, if the server told them. */
  readonly retryAfter: number | null;
  /** More fields of the server's answer, such as `position` of a conflict. */
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

/** Return a copy of an error with other facts. */
export function replaceFacts({ code, name, temporary, message }: SessionError, facts: object): SessionError {
  return new SessionError({ code, name, temporary, message, ...facts });
}

/** Return a thrown value as an error of this client. */
export function toFailure(error: unknown): SessionError {
  return error instanceof SessionError ? error : SessionError.local("recovery_failed", String(error));
}

/** Prevent an unhandled rejection; refusals are also reported by the event `error`. */
export function silenceRejection<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

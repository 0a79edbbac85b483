/** Way from the fake server to a client. */

export interface FakeWire {
  /** Deliver a frame from the server. */
  deliver(frame: object): void;
  /** End the wire, as the server or the network does. */
  drop(code?: number): void;
}

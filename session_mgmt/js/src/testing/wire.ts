/** What the fake server reaches a client by. */

export interface FakeWire {
  /** Deliver a frame from the server. */
  deliver(frame: object): void;
  /** End it from the server's side or the network's. */
  drop(code?: number): void;
}

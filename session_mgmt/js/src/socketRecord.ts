/** Record of the sockets of a page. */

/** Milliseconds after which a socket counts as useful. */
export const USEFUL_AFTER = 10_000;
/** Sockets in a row that may be lost, on a page where some have connected, before HTTP is tried. */
const ENOUGH_FAILURES = 3;

/** Record of the success of sockets on this page. */
export class SocketRecord {
  /** Sockets in a row that opened, but were lost before they were of use. */
  useless = 0;
  /**
   * Sockets in a row that were lost before they carried an attachment. It starts high, as for a page that never had
   * one.
   */
  #failures = ENOUGH_FAILURES;
  /** True if a socket has carried an attachment. */
  hasCarried = false;

  noteCarried(): void {
    this.hasCarried = true;
    this.#failures = 0;
  }

  /**
   * Note that a socket was lost before it carried an attachment. Return true if the server is the likely cause: shortly
   * before, sockets connected, and a server that restarts refuses them for a while.
   */
  blamesServer(): boolean {
    this.#failures += 1;
    return this.#failures <= ENOUGH_FAILURES;
  }
}

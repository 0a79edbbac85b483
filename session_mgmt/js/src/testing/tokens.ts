/** Token pairs of one session of the fake server, refused and repeated as PROTOCOL section 14 says. */

export interface FakePair {
  access: string;
  refresh: string;
}

interface Refresh {
  nonce: string | null;
  child: FakePair | null;
}

const GRACE = 30_000;

export class FakeTokens {
  /** Seconds for which an access token is valid. */
  life = 900;
  readonly #makeName: (prefix: string) => string;
  #pair: FakePair | null = null;
  #since = 0;
  #accesses = new Map<string, number>();
  #refreshes = new Map<string, Refresh & { usedAt: number }>();

  constructor(makeName: (prefix: string) => string) {
    this.#makeName = makeName;
  }

  /** Newest access token. */
  get access(): string {
    return (this.#pair ?? this.begin()).access;
  }

  get pair(): FakePair {
    return this.#pair ?? this.begin();
  }

  /** Fields of an answer that contains tokens. */
  get fields(): object {
    const { access, refresh } = this.pair;
    return { access, refresh, expires_in: (this.#since + this.life * 1000 - Date.now()) / 1000, login_due_in: null };
  }

  /** Revoke all tokens, and begin a new family. */
  begin(): FakePair {
    this.revoke();
    return this.#issue();
  }

  revoke(): void {
    this.#accesses.clear();
    this.#refreshes.clear();
    this.#pair = null;
  }

  /** Issue a cookie that is valid for so many seconds; the one before stays valid. */
  giveCookie(life: number): string {
    const cookie = this.#makeName("smc_");
    this.#accesses.set(cookie, Date.now() + life * 1000);
    return cookie;
  }

  isKnown(access: string): boolean {
    return this.#accesses.has(access);
  }

  isExpired(access: string): boolean {
    return (this.#accesses.get(access) ?? 0) <= Date.now();
  }

  /** Treat every issued access token as expired, whatever the clock says. */
  expireAll(): void {
    for (const access of this.#accesses.keys()) this.#accesses.set(access, 0);
  }

  /** Return true if this refresh token proves its session. */
  proves(refresh: string): boolean {
    return this.#refreshes.has(refresh);
  }

  isPastHalf(): boolean {
    return Date.now() >= this.#since + (this.life * 1000) / 2;
  }

  /** Exchange a refresh token; return false if it was copied or is unknown. */
  exchange(refresh: string, nonce: string): boolean {
    const known = this.#refreshes.get(refresh);
    if (!known) return false;
    if (known.child === null) {
      known.nonce = nonce;
      known.usedAt = Date.now();
      known.child = this.#issue();
      return true;
    }
    const isSame = known.nonce === nonce && known.child.refresh === this.#pair?.refresh;
    return isSame || Date.now() - known.usedAt <= GRACE;
  }

  #issue(): FakePair {
    const pair = { access: this.#makeName("sma_"), refresh: this.#makeName("smr_") };
    this.#since = Date.now();
    this.#accesses.set(pair.access, this.#since + this.life * 1000);
    this.#refreshes.set(pair.refresh, { nonce: null, child: null, usedAt: 0 });
    return (this.#pair = pair);
  }
}

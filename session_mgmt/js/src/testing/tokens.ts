/** Pairs of tokens of one session of the fake server, refused and told again as PROTOCOL section 14 says. */

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
  /** Seconds for which an access token counts. */
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

  /** Fields of an answer that brings tokens. */
  get fields(): object {
    const { access, refresh } = this.pair;
    return { access, refresh, expires_in: (this.#since + this.life * 1000 - Date.now()) / 1000, login_due_in: null };
  }

  /** Revoke everything and begin a family. */
  begin(): FakePair {
    this.revoke();
    return this.#issue();
  }

  revoke(): void {
    this.#accesses.clear();
    this.#refreshes.clear();
    this.#pair = null;
  }

  /** Give a cookie that counts for so many seconds; the one before counts on. */
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

  /** Let every access token that was given be too old, whatever the clock says. */
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

  /** Return false if the token was copied, or is unknown. */
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

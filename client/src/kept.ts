// What is kept of a sign-in.

/** What `/login` and `/refresh` answer. */
export interface Tokens {
  jwt: string;
  expires_in?: number;
  refresh_token?: string;
}

/** What is kept in the storage. Other programs, and other versions of this one, may keep something else there. */
export interface Kept {
  user: string;
  jwt: string;
  refresh?: string | undefined;
  /** Seconds that the token lasts, and when it was given, by the clock of the machine: a hint only. */
  life?: number | undefined;
  at?: number;
  /** The refresh token of before, of which another tab has the successor. This is in no storage. */
  spent?: string | undefined;
}

export const isKept = (found: Kept | undefined): boolean => typeof found?.user === 'string' && typeof found.jwt === 'string';

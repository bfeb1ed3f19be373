// How commands end: the exit status, and what is said of it.

export const EXIT = { done: 0, failed: 1, usage: 2, notSignedIn: 3, notFound: 4, conflict: 5, unreachable: 6 } as const;

/** Ends a command, with its exit status and the sentence for standard error. */
export class Exit extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string,
  ) {
    super(message);
  }
}

/** The end of a command that the server refused. */
export function refused(status: number, message: string, code: string): Exit {
  const exits: Record<number, number> = { 401: EXIT.notSignedIn, 404: EXIT.notFound, 409: EXIT.conflict, 412: EXIT.conflict };
  return new Exit(exits[status] ?? EXIT.failed, message, code);
}

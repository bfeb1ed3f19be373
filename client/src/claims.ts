// What a token says that a service of the application has made. Few pages have one, so this is loaded with the first.

/** The user of the token; undefined if it cannot be read. */
export default function userOf(jwt: string): string | undefined {
  try {
    // `escape` makes text of UTF-8, also where there is no TextDecoder.
    const { sub } = JSON.parse(decodeURIComponent(escape(atob(jwt.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/')))));
    return typeof sub === 'string' && sub ? sub : undefined;
  } catch {
    return;
  }
}

/** Gives what comes within so many ms; else undefined. */
export function soon<T>(answer: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  // A program in Node does not stay for it.
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

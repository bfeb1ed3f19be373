/** Keeps back what awaits it, until it is opened. */
export function createGate() {
  let open!: () => void;
  const isOpen = new Promise<void>((resolve) => (open = resolve));
  return { isOpen, open };
}

/** Builds modules so that they can be stopped dead at any `await`, as a tab is that is closed or crashes there. */
import { build } from 'esbuild';
import { parseAst } from 'vite';

export interface Life {
  /** At which `await` of this life it ends, counted from 1. */
  at: number;
  /** Whether what is awaited was still done. */
  when: 'before' | 'after';
  onDeath(): void;
}

export type Death = Omit<Life, 'onDeath'>;

/** A death before and one after each of so many awaits. */
export const deathsUpTo = (count: number): Death[] =>
  Array.from({ length: count }, (_, at) => [{ at: at + 1, when: 'before' } as const, { at: at + 1, when: 'after' } as const]).flat();

/** Lives know nothing of each other, and the server commits together what comes together. */
export async function atOnce<T>(lives: T[], run: (life: T) => Promise<void>) {
  while (lives.length) await Promise.all(lives.splice(0, 16).map(run));
}

interface Node {
  type: string;
  start: number;
  end: number;
  argument?: Node;
}

function awaits(node: unknown, found: Node[] = []): Node[] {
  if (Array.isArray(node)) for (const each of node) awaits(each, found);
  else if (node && typeof node === 'object') {
    if ((node as Node).type === 'AwaitExpression') found.push(node as Node);
    for (const value of Object.values(node)) awaits(value, found);
  }
  return found;
}

/** Gives a function that loads the module anew, as a tab does that lives as long as `life` says. Without it, the tab lives on. */
export async function killable<M>(path: string, inject: string[]): Promise<(life: Life | undefined, injected: unknown[]) => M & { steps(): number }> {
  const built = await build({ entryPoints: [path], bundle: true, write: false, format: 'iife', globalName: 'module', target: 'es2022' });
  let code = built.outputFiles[0]!.text;
  const inserts: [number, string][] = [];
  for (const node of awaits(parseAst(code))) {
    inserts.push([node.argument!.start, '__step(async () => (']);
    inserts.push([node.argument!.end, '))']);
  }
  // From the end, so that places stay right; of two at one place, the one that closes stands first.
  for (const [place, text] of inserts.sort((a, b) => b[0] - a[0])) code = code.slice(0, place) + text + code.slice(place);
  const load = new Function('__step', ...inject, `${code}; return module;`);

  return (life, injected) => {
    let count = 0;
    let dead = false;
    const never = new Promise<never>(() => {});
    const die = () => {
      dead = true;
      life?.onDeath();
      return never;
    };
    const step = async (work: () => Promise<unknown>) => {
      if (dead) return never;
      const mine = ++count;
      if (mine === life?.at && life.when === 'before') return die();
      try {
        const value = await work();
        if (dead) return never;
        return mine === life?.at ? die() : value;
      } catch (error) {
        if (dead) return never;
        if (mine === life?.at) return die();
        throw error;
      }
    };
    return { ...load(step, ...injected), steps: () => count } as M & { steps(): number };
  };
}

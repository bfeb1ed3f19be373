// Runs a user's program in Node. The argument is the program; the default is user.mjs, which takes a bundler.
import { bundle, obey, report } from './host.mjs';

const [program] = process.argv.slice(2);
const bundled = async () => `data:text/javascript;base64,${Buffer.from(await bundle('node')).toString('base64')}`;
const { signIn } = await import(program ? `./${program}` : await bundled());
await obey((settings) => signIn(settings, report));
// The open stream would keep the process running.
process.exit(0);

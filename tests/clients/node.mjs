// Runs a user's program in Node.
import { bundle, obey, report } from './host.mjs';

const source = Buffer.from(await bundle('node')).toString('base64');
const { signIn } = await import(`data:text/javascript;base64,${source}`);
await obey((settings) => signIn(settings, report));
// The open stream would keep the process running.
process.exit(0);

// A user's program in Node.
import { bundle, obey, report } from './host.mjs';

const source = Buffer.from(await bundle('node')).toString('base64');
const { signIn } = await import(`data:text/javascript;base64,${source}`);
await obey((settings) => signIn(settings, report));
// The stream is still open.
process.exit(0);
